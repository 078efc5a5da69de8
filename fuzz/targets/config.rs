//! Configuration: a file, then environment variables behind a line `---`. Whatever they say, the
//! outcome is a set of checked settings or one plain sentence.
#![no_main]

use blindtally::config::{self, ENV_PREFIX, Flags, Settings};
use blindtally::model::time::DAY_MS;
use blindtally_fuzz::cut;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let (file, variables) = cut(data, b"\n---\n");
    let (Ok(file), Ok(variables)) = (std::str::from_utf8(file), std::str::from_utf8(variables))
    else {
        return;
    };
    let environment = || {
        let pairs = variables.lines().filter_map(|line| line.split_once('='));
        pairs.map(|(name, value)| (format!("{ENV_PREFIX}{name}"), value.to_owned()))
    };
    let flags = Flags::default();
    let settings = config::compose("fuzz.toml", file, environment(), &flags);
    let again = config::compose("fuzz.toml", file, environment(), &flags);
    assert_eq!(format!("{settings:?}"), format!("{again:?}"));
    match settings {
        Ok(settings) => check(&settings),
        Err(error) => {
            let sentence = error.to_string();
            assert!(sentence.ends_with('.') && !sentence.contains('\n'), "{sentence}");
        }
    }
});

fn check(settings: &Settings) {
    let Settings { http, ingest, engine, store, keys, .. } = settings;
    assert!(!http.listen.is_empty());
    assert!(http.tls.is_some() || http.listen.iter().all(|at| at.ip().is_loopback()));
    assert!(http.connections_max > 0 && http.body_bytes_max > 0);
    // A body at its largest must fit the budget of all bodies, or it is refused for ever.
    assert!(http.held_body_bytes_max >= http.body_bytes_max);
    assert!(http.held_body_bytes_max >= http.encoded_body_bytes_max);
    assert!(ingest.limits.records > 0 && ingest.future_ms > 0);
    assert!(engine.age_ms >= 35 * DAY_MS, "duplicates are remembered for 35 days");
    assert!(engine.fold_after_ms > 0);
    assert!(!store.data.as_os_str().is_empty() && !keys.dir.as_os_str().is_empty());
    assert_ne!(keys.dir, store.data, "the keys lie in the data directory");
}
