//! Configuration: a file, then environment variables behind a line `---`. Whatever they say, the
//! outcome is a set of checked settings or one plain sentence.
#![no_main]

use blindtally::config::{self, ENV_PREFIX, Flags, Settings};
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
    assert_eq!(settings, config::compose("fuzz.toml", file, environment(), &flags));
    match settings {
        Ok(settings) => check(&settings),
        Err(error) => {
            let sentence = error.to_string();
            assert!(sentence.ends_with('.') && !sentence.contains('\n'), "{sentence}");
        }
    }
});

fn check(settings: &Settings) {
    let (http, limits, engine) = (&settings.http, &settings.limits, &settings.engine);
    assert!(!http.listen.is_empty());
    assert!(http.tls.is_some() || http.listen.iter().all(|at| at.ip().is_loopback()));
    assert!(http.connections_max > 0 && http.body_bytes_max > 0);
    assert!(http.held_body_bytes_max >= http.body_bytes_max);
    assert!(http.held_body_bytes_max >= http.encoded_body_bytes_max);
    assert!(limits.batch_records_max > 0 && limits.future_ms_max > 0);
    assert!(limits.age_ms_max >= 35 * 86_400_000, "duplicates are remembered for 35 days");
    assert!(!engine.data.as_os_str().is_empty());
    assert!(!settings.keys.directory.as_os_str().is_empty());
    assert_ne!(settings.keys.directory, engine.data, "keys in the data directory");
}
