//! The configuration: defaults, documents, overrides, refusals.

use super::file::File;
use super::*;
use toml::{Table, Value};

const SERVER: &str = include_str!("../../config/server.toml");
const MINIMAL: &str = include_str!("../../config/minimal.toml");

fn compose_with(text: &str, environment: &[(&str, &str)]) -> Result<Settings, ConfigError> {
    let environment = environment.iter().map(|(name, value)| ((*name).into(), (*value).into()));
    compose("test.toml", text, environment, &Flags::default())
}

/// The settings in a form that can be compared.
fn shown(text: &str, environment: &[(&str, &str)]) -> String {
    format!("{:?}", compose_with(text, environment).unwrap())
}

fn refusal(text: &str, environment: &[(&str, &str)]) -> String {
    let sentence = compose_with(text, environment).unwrap_err().to_string();
    assert!(sentence.ends_with('.') && !sentence.contains('\n'), "{sentence}");
    sentence
}

#[test]
fn server_toml_holds_every_setting_with_its_default() {
    let written: Table = toml::from_str(SERVER).unwrap();
    assert_eq!(written, File::known().unwrap());
    assert_eq!(shown(SERVER, &[]), shown("", &[]));
}

#[test]
fn defaults_are_those_of_the_rooms() {
    let settings = compose_with("", &[]).unwrap();
    assert_eq!(settings.engine, engine::Settings::default());
    assert_eq!(settings.ingest, ingest::Settings::default());
    assert_eq!(settings.logs, logs::Settings::default());
    assert_eq!(settings.retention, retention::Settings::default());
    assert_eq!(settings.webhooks, webhooks::Settings::default());
    assert_eq!(settings.billing, billing::Settings::default());
}

#[test]
fn papers_of_evidence_are_paths() {
    let text = "[evidence]\nprocessors = \"/etc/p.txt\"\ntest_report = \"r.xml\"";
    let settings = compose_with(text, &[]).unwrap().retention;
    assert_eq!(settings.processors, Some(PathBuf::from("/etc/p.txt")));
    assert_eq!(settings.test_report, Some(PathBuf::from("r.xml")));
    let environment = [("BLINDTALLY__EVIDENCE__PROCESSORS", "/p")];
    let settings = compose_with("", &environment).unwrap().retention;
    assert_eq!((settings.processors, settings.test_report), (Some(PathBuf::from("/p")), None));
}

#[test]
fn customers_of_sites_are_read_and_checked() {
    let text = "[export]\ncustomers = [\"ACME=cus_1\", \"B=a=b\"]\nmau_event = \"mau\"";
    let names = compose_with(text, &[]).unwrap().billing.names;
    let of =
        |site: &[u8]| names.customers[&crate::model::ids::SiteId::parse(site).unwrap()].clone();
    assert_eq!(
        (of(b"ACME"), of(b"B"), names.mau_event),
        ("cus_1".into(), "a=b".into(), "mau".into())
    );
    for bad in ["ACME", "ACME=", "=x", "a b=x", "A=x y", "A=1\", \"A=2"] {
        let text = format!("[export]\ncustomers = [\"{bad}\"]");
        assert!(refusal(&text, &[]).contains("[export] customers"), "{bad}");
    }
    assert!(refusal("[export]\nmau_event = \"\"", &[]).contains("[export] mau_event"));
    let small = "[challenge]\nlist_users_min = 9";
    assert!(refusal(small, &[]).contains("[challenge] list_users_min"));
}

#[test]
fn server_toml_says_why_above_each_setting() {
    let lines: Vec<&str> = SERVER.lines().collect();
    for (at, line) in lines.iter().enumerate() {
        if line.contains('=') && !line.starts_with('#') {
            assert!(at > 0 && lines[at - 1].starts_with("# "), "{line} has no comment");
        }
    }
}

#[test]
fn minimal_toml_starts() {
    assert_eq!(shown(MINIMAL, &[]), shown("", &[]));
}

#[test]
fn keys_lie_beside_the_data_unless_said_otherwise() {
    let settings = compose_with("", &[]).unwrap();
    assert_eq!(settings.store.data, PathBuf::from("./blindtally-data"));
    assert_eq!(settings.keys.dir, PathBuf::from("./blindtally-data-keys"));
    assert_eq!(settings.keys.root_key, PathBuf::from("./blindtally-data-keys/root.key"));
    let flags = Flags {
        data: Some(PathBuf::from("/srv/bt/")),
        listen: vec!["[::1]:0".to_owned(), "127.0.0.2:9".to_owned()],
        ..Flags::default()
    };
    let settings = compose("", "[storage]\ndata = \"/elsewhere\"", [], &flags).unwrap();
    assert_eq!(settings.store.data, PathBuf::from("/srv/bt/"));
    assert_eq!(settings.keys.dir, PathBuf::from("/srv/bt-keys"));
    assert_eq!(settings.http.listen.len(), 2);
    let flags = Flags { keys: Some(PathBuf::from("/run/keys")), ..Flags::default() };
    let settings = compose("", "[storage]\nroot_key = \"/root.key\"", [], &flags).unwrap();
    assert_eq!(settings.keys.dir, PathBuf::from("/run/keys"));
    assert_eq!(settings.keys.vek_home, PathBuf::from("/run/keys/vek.home"));
    assert_eq!(settings.keys.root_key, PathBuf::from("/root.key"));
    assert!(refusal("[storage]\ndata = \"..\"", &[]).contains("keys must be set"));
}

#[test]
fn the_ledger_lies_beside_the_data_unless_said_otherwise() {
    let settings = compose_with("", &[]).unwrap();
    assert_eq!(settings.ledger.dir, PathBuf::from("./blindtally-data-ledger"));
    let key = PathBuf::from("./blindtally-data-keys/ledger-signing.key");
    assert_eq!((settings.ledger.signing_key, settings.ledger.second_copy), (key, None));
    assert!(settings.keys.copies.is_empty());
    let flags = Flags { ledger: Some(PathBuf::from("/led")), ..Flags::default() };
    let text = "[storage]\nkeys = \"/k\"\n[ledger]\ndir = \"/x\"\nname = \"a/b\"\n\
                second_copy = \"/m/copy\"\n[keys]\ncopies = [\"/m/r\"]";
    let settings = compose("", text, [], &flags).unwrap();
    assert_eq!(settings.ledger.dir, PathBuf::from("/led"));
    assert_eq!(settings.ledger.signing_key, PathBuf::from("/k/ledger-signing.key"));
    assert_eq!(settings.ledger.second_copy, Some(PathBuf::from("/m/copy")));
    assert_eq!((settings.ledger.name.as_str(), settings.keys.copies.len()), ("a/b", 1));
    let environment = [("BLINDTALLY__KEYS__COPIES", "/a/r, /b/r")];
    assert_eq!(compose_with("", &environment).unwrap().keys.copies.len(), 2);
    let text = "[storage]\nkeys = \"/k\"\ndata = \"..\"";
    assert!(refusal(text, &[]).contains("[ledger] dir must be set"));
}

#[test]
fn the_root_is_a_key_file_or_a_token_and_never_half_of_both() {
    let token = "[keys]\nroot = \"pkcs11\"\npkcs11_module = \"/lib/token.so\"\n\
                 pkcs11_token = \"bt\"\npkcs11_pin_file = \"/run/pin\"\n";
    assert_eq!(compose_with("", &[]).unwrap().keys.pkcs11, None);
    assert_eq!(
        compose_with(token, &[]).unwrap().keys.pkcs11,
        Some(keys::Pkcs11Settings {
            module: PathBuf::from("/lib/token.so"),
            label: "bt".to_owned(),
            pin_file: PathBuf::from("/run/pin"),
        })
    );
    for part in ["PKCS11_MODULE", "PKCS11_TOKEN", "PKCS11_PIN_FILE"] {
        let part = format!("{ENV_PREFIX}KEYS__{part}");
        assert!(refusal(token, &[(&part, "")]).contains("needs pkcs11_module"), "{part}");
        assert!(refusal("", &[(&part, "/x")]).contains("need [keys] root"), "{part}");
    }
    for (name, value, says) in [
        ("STORAGE__ROOT_KEY", "/root.key", "leave out one of the two"),
        ("KEYS__PKCS11_MODULE", "token.so", "a path from the root"),
        ("KEYS__ROOT", "hsm", "must be \"key-file\", \"split\" or \"pkcs11\""),
        ("KEYS__ROOT", "key-file", "need [keys] root"),
    ] {
        let sentence = refusal(token, &[(&format!("{ENV_PREFIX}{name}"), value)]);
        assert!(sentence.contains(says), "{sentence}");
    }
}

#[test]
fn the_root_is_in_two_shares_or_not_at_all() {
    let split = "[keys]\nroot = \"split\"\nroot_shares = [\"/m/a/share\", \"/m/b/share\"]\n";
    let keys = compose_with(split, &[]).unwrap().keys;
    assert_eq!(keys.shares, Some(["/m/a/share", "/m/b/share"].map(PathBuf::from)));
    assert_eq!(keys.root_files(), [&PathBuf::from("/m/a/share"), &PathBuf::from("/m/b/share")]);
    let keys = compose_with("", &[]).unwrap().keys;
    assert_eq!((keys.root_files(), &keys.shares), (vec![&keys.root_key], &None));
    for (name, value, says) in [
        ("KEYS__ROOT_SHARES", "/m/a/share", "two different paths"),
        ("KEYS__ROOT_SHARES", "/m/a/share, /m/a/share", "two different paths"),
        ("KEYS__ROOT", "key-file", "root_shares needs"),
        ("STORAGE__ROOT_KEY", "/root.key", "leave out one of the two"),
        ("KEYS__PKCS11_TOKEN", "bt", "need [keys] root"),
        ("BACKUP__DIR", "/m/a", "[backup] dir must lie apart"),
    ] {
        let sentence = refusal(split, &[(&format!("{ENV_PREFIX}{name}"), value)]);
        assert!(sentence.contains(says), "{sentence}");
    }
}

#[test]
fn the_environment_wins_over_the_file() {
    let environment = [
        ("BLINDTALLY__SERVER__LISTEN", "127.0.0.1:1, [::1]:2"),
        ("BLINDTALLY__SERVER__MAX_CONNECTIONS", "7"),
        ("BLINDTALLY__STORAGE__ALLOW_SAME_DEVICE", "false"),
        ("BLINDTALLY__LOG__LEVEL", "debug"),
        ("BLINDTALLY_URL", "is no setting"),
    ];
    let settings = compose_with("[server]\nmax_connections = 9", &environment).unwrap();
    assert_eq!(settings.http.listen.len(), 2);
    assert_eq!(settings.http.connections_max, 7);
    assert!(!settings.place.allow_same_device);
    assert_eq!(settings.logs.level, logs::Level::Debug);
}

#[test]
fn every_setting_has_an_environment_variable() {
    for (section, settings) in File::known().unwrap() {
        let Value::Table(settings) = settings else { panic!("{section} is no section") };
        for (name, default) in settings {
            let variable = format!("{ENV_PREFIX}{section}__{name}").to_ascii_uppercase();
            let text = match default {
                Value::String(text) => text,
                Value::Array(items) => {
                    items.first().map_or("", |item| item.as_str().unwrap()).to_owned()
                }
                other => other.to_string(),
            };
            assert_eq!(shown("", &[(&variable, &text)]), shown("", &[]), "{variable}");
        }
    }
}

#[test]
fn a_bad_configuration_is_one_sentence() {
    for (text, sentence) in [
        ("[server]\nlisten = 5", "[server] listen must be a list of texts."),
        ("[server]\nlisten = [5]", "[server] listen must be a list of texts."),
        ("[server]\nlisten = []", "[server] listen must hold at least one address."),
        ("[server]\nlsten = []", "There is no setting \"lsten\" in section [server]."),
        ("[sever]\n", "There is no section or setting \"sever\"."),
        ("server = 1", "[server] must be a section."),
        ("\n[server\n", "Line 2 of test.toml is not TOML."),
        ("[log]\nlevel = \"loud\"", "[log] level must be"),
        ("[fold]\nseconds = -1", "[fold] seconds must be a whole number."),
        ("[fold]\nseconds = 0", "[fold] seconds must be from 1 to 86400, and is 0."),
        (
            "[retention]\nprofile = \"us\"",
            "[retention] profile must be \"kr-pipa\" or \"eu-gdpr\".",
        ),
        (
            "[retention]\nturn_over_hours = 25",
            "[retention] turn_over_hours must be from 1 to 24, and is 25.",
        ),
        (
            "[retention]\nclock_jump_days = 0",
            "[retention] clock_jump_days must be from 1 to 60, and is 0.",
        ),
        (
            "[backfill]\nrecords = 1000001",
            "[backfill] records must be from 1 to 1000000, and is 1000001.",
        ),
        (
            "[backfill]\nbytes = 268435457",
            "[backfill] bytes must be from 1048576 to 268435456, and is 268435457.",
        ),
        (
            "[fold]\nunfolded_bytes = 268435455",
            "[backfill] bytes may be half of [fold] unfolded_bytes at most.",
        ),
        ("[limits]\nage_days = 34", "[limits] age_days must be from 35 to 180, and is 34."),
        ("[storage]\nallow_same_device = 1", "must be true or false."),
        ("[tls]\ncertificate = \"a.pem\"", "must be set together."),
        ("[ledger]\nname = \"a b\"", "[ledger] name must be 1 to 128 printable"),
        ("[storage]\ndata = \"/d\"\n[ledger]\ndir = \"/d/l\"", "must lie apart from the data"),
        ("[ledger]\ndir = \"/l\"\nsecond_copy = \"/l/copy\"", "must lie outside"),
        ("[keys]\ncopies = [\"\"]", "[keys] copies must hold paths"),
        ("[server]\nlisten = [\"0.0.0.0:80\"]", "Plain HTTP is allowed on loopback only"),
        ("[server]\nlisten = [\"localhost\"]", "must hold addresses like"),
        ("[server]\nlisten = [\"127.0.0.1:9\", \"127.0.0.1:9\"]", "holds 127.0.0.1:9 twice."),
        ("[limits]\nbatch_records = 65536", "must be from 1 to 65535, and is 65536."),
        ("[limits]\nbody_bytes = 1024", "record_bytes is larger than body_bytes"),
        ("[limits]\nheld_body_bytes = 67108863", "must be from 67108864"),
        ("[limits]\nencoded_body_bytes = 1073741824", "held_body_bytes must be from 2181038080"),
        ("[storage]\nkeys = \"./blindtally-data\"", "must be two directories"),
        ("[storage]\nkeys = \"./blindtally-data/keys\"", "must be two directories"),
        ("[storage]\ndata = \"/k/data\"\nkeys = \"/k\"", "must be two directories"),
    ] {
        let said = refusal(text, &[]);
        assert!(said.contains(sentence), "{text}: {said}");
    }
    let said = refusal("", &[("BLINDTALLY__SERVER__LISTN", "x")]);
    assert!(said.contains("BLINDTALLY__SERVER__LISTN names no setting"), "{said}");
    let said = refusal("", &[("BLINDTALLY__FOLD__SECONDS", "soon")]);
    assert!(said.contains("must be a whole number"), "{said}");
    assert!(refusal("", &[("BLINDTALLY__SERVER", "x")]).contains("names no setting"));
}

#[test]
fn tls_opens_other_addresses() {
    let text = "[server]\nlisten = [\"0.0.0.0:443\"]\n\
                [tls]\ncertificate = \"a.pem\"\nprivate_key = \"a.key\"";
    assert!(compose_with(text, &[]).unwrap().http.tls.is_some());
}

#[test]
fn a_missing_file_is_said() {
    let flags = Flags { config: Some(PathBuf::from("/nowhere/x.toml")), ..Flags::default() };
    let sentence = load(&flags, []).unwrap_err().to_string();
    assert!(sentence.starts_with("/nowhere/x.toml cannot be read"), "{sentence}");
}
