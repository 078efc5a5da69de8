//! A customer's list beside everything else that the server takes.

use super::*;
use crate::billing::fake::Memory as Months;

fn challenge(site: &str) -> String {
    format!("/v1/sites/{site}/statements/2026-11/challenge")
}

impl Harness {
    async fn list(&self, site: &str) -> Got {
        let request = self.request(Role::Billing, "POST", &challenge(site));
        self.send(request.header("content-type", "application/x-ndjson"), "").await
    }
}

/// A list that stands still half-way holds up the lists of its site, and nothing else.
#[tokio::test]
async fn a_slow_list_keeps_no_records_out() {
    let room = Settings { held_body_bytes_max: 600 << 10, ..settings() };
    let harness = start_with(room, Months::closed()).await;
    let mut slow = TcpStream::connect(harness.address).await.unwrap();
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n\
         content-type: application/x-ndjson\r\ncontent-length: {}\r\n\r\n",
        challenge("A"),
        harness.tokens[&Role::Billing],
        512 << 10
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    slow.write_all(&vec![b'\n'; 400 << 10]).await.unwrap();
    // It has a turn when another list of its site has none.
    let refused = loop {
        let refused = harness.list("A").await;
        if refused.status != StatusCode::UNPROCESSABLE_ENTITY {
            break refused;
        }
    };
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE, "{}", refused.body);
    assert_eq!(refused.header("retry-after"), "1");
    let held = |text: &str| {
        let line = text.lines().find(|line| line.starts_with("blindtally_http_held_body_bytes"));
        line.and_then(|line| line.split(' ').next_back()?.parse::<usize>().ok()).unwrap()
    };
    while held(&harness.registry.render(crate::observe::metrics::Exposition::Prometheus))
        < 400 << 10
    {
        tokio::task::yield_now().await;
    }
    let other = harness.list("B").await;
    assert_eq!(other.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", other.body);
    let batch = harness.send(harness.post(), vec![b'\n'; 256 << 10]).await;
    assert_eq!(batch.status, StatusCode::OK, "{}", batch.body);
    // It ends, and the next one of its site is read.
    drop(slow);
    while harness.list("A").await.status == StatusCode::SERVICE_UNAVAILABLE {}
}
