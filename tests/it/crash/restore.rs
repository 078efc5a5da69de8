//! A backup of a loaded server, its loss with everything that came after the backup, and the way
//! back: what was acknowledged before is there, what is sent again counts once, and a destroyed
//! data directory costs nobody more than sending again.

use std::process::{Command, Stdio};

use super::*;

/// Batches that are acknowledged before the backup begins, and after it has ended.
const BEFORE: u64 = 60;
const AFTER: u64 = 40;

struct Said {
    code: Option<i32>,
    text: String,
}

/// Runs a verb of the real binary, as an operator of this server if there is one.
fn verb(server: Option<&Server>, arguments: &[&str]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_blindtally"));
    command.args(arguments).stdin(Stdio::null());
    if let Some(server) = server {
        command.env("BLINDTALLY_URL", format!("http://{}", server.address()));
        command.env("BLINDTALLY_TOKEN", server.operator_token());
    }
    let done = command.output().expect("the binary");
    let text = String::from_utf8_lossy(&done.stdout) + String::from_utf8_lossy(&done.stderr);
    Said { code: done.status.code(), text: text.into_owned() }
}

#[test]
fn a_lost_server_comes_back_from_a_backup_and_counts_what_is_sent_again_once() {
    let mut random = Random::new(seed());
    let mut place = Place::new();
    let backups = place.path().join("backups");
    std::fs::create_dir(&backups).expect("a directory");
    place.set("BLINDTALLY__BACKUP__DIR", backups.to_str().expect("text"));
    let tokens = set_up(&place);
    let mut fleet = Fleet::new(CLIENTS, &mut random);
    let server = start(&place, &settings(0));
    let backup = backups.join("one");
    fleet.load(server, &tokens.producer, |server, acknowledged| {
        acknowledged.wait(BEFORE, &server);
        let made = verb(Some(&server), &["backup", "create", "one"]);
        assert_eq!(made.code, Some(0), "{}", made.text);
        assert!(made.text.contains("\"state\":\"made\""), "{}", made.text);
        let again = verb(Some(&server), &["backup", "create", "one"]);
        assert!(again.code == Some(1) && again.text.contains("backup-exists"), "{}", again.text);
        acknowledged.wait(acknowledged.count() + AFTER, &server);
        server.kill();
    });
    let checked = verb(None, &["backup", "check", backup.to_str().expect("text")]);
    assert_eq!(checked.code, Some(0), "{}", checked.text);

    let data = place.data();
    let restore = ["restore", "data", backup.to_str().unwrap(), "--data", data.to_str().unwrap()];
    let refused = verb(None, &restore);
    assert!(refused.code == Some(1) && refused.text.contains("is not empty"), "{}", refused.text);
    std::fs::remove_dir_all(&data).expect("a directory");
    let restored = verb(None, &restore);
    assert_eq!(restored.code, Some(0), "{}", restored.text);
    assert!(restored.text.contains("on are not in it"), "{}", restored.text);

    let server = start(&place, &settings(1));
    let lost = fleet.send_lost(&server, &tokens.producer);
    let (whole, some) = (lost.known_batches, lost.accepted);
    assert!(whole >= BEFORE, "{whole} batches were there, {BEFORE} were acknowledged before");
    assert!(some > 0, "nothing was lost, so this test shows nothing");
    fleet.send_pending(&server, &tokens.producer);
    fleet.check_figures(&server, &tokens.billing);
    server.kill();
    // A start after that is like any other.
    let server = start(&place, &settings(0));
    fleet.check_figures(&server, &tokens.billing);
    fleet.send_everything_again(&server, &tokens.producer);
    fleet.check_figures(&server, &tokens.billing);
    assert_eq!(server.terminate().status.code(), Some(0));
    let verified = verify(&place, &[]);
    assert_eq!(verified.status.code(), Some(0), "{}", verified.output);
}
