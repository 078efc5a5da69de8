//! SoftHSM, the real PKCS#11 token of the tests: a directory of its own for each, made by its own
//! tool. Also read by the tests of `keys`, so it names nothing beside it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The token's label.
pub const LABEL: &str = "blindtally test";
/// Its user PIN, which no log, error or file but its own may hold.
pub const PIN: &str = "hush-7301-user";
/// The variable that names its configuration.
pub const CONF: &str = "SOFTHSM2_CONF";

/// Where distributions put the library.
const MODULES: [&str; 5] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
];

/// Tokens in a directory.
pub struct SoftHsm {
    dir: PathBuf,
}

impl SoftHsm {
    /// Makes one token and its PIN file.
    #[track_caller]
    pub fn make(dir: &Path) -> Self {
        let made = Self::at(dir);
        fs::create_dir_all(made.tokens()).unwrap();
        let tokens = made.tokens().display().to_string();
        let conf = format!("directories.tokendir = {tokens}\nobjectstore.backend = file\n");
        fs::write(made.conf(), conf).unwrap();
        made.init(LABEL);
        made.write_pin(PIN, 0o600);
        made
    }

    /// Those that were made before.
    pub fn at(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// One more token.
    #[track_caller]
    pub fn init(&self, label: &str) {
        let pins = ["--so-pin", "7301-security-officer", "--pin", PIN];
        let mut tool = Command::new("softhsm2-util");
        tool.env(CONF, self.conf()).args(["--init-token", "--free", "--label", label]).args(pins);
        let Output { status, stdout, stderr } = tool.output().unwrap_or_else(|error| {
            panic!("SoftHSM is missing ({error}): `make setup` installs it, the package softhsm2")
        });
        assert!(status.success(), "{stdout:?} {stderr:?}");
    }

    /// Writes the PIN file.
    pub fn write_pin(&self, text: &str, mode: u32) {
        fs::write(self.pin_file(), text).unwrap();
        fs::set_permissions(self.pin_file(), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// The library.
    #[track_caller]
    pub fn module() -> PathBuf {
        let found = MODULES.map(PathBuf::from).into_iter().find(|path| path.exists());
        found.expect("libsofthsm2.so is missing: `make setup` installs it, the package softhsm2")
    }

    /// The directory it is all in.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What [`CONF`] must say.
    pub fn conf(&self) -> PathBuf {
        self.dir.join("softhsm2.conf")
    }

    /// Where the tokens are: a directory away is a token away.
    pub fn tokens(&self) -> PathBuf {
        self.dir.join("tokens")
    }

    /// The PIN file.
    pub fn pin_file(&self) -> PathBuf {
        self.dir.join("pin")
    }

    /// How many keys the tokens hold, by their files.
    pub fn keys(&self) -> usize {
        let tokens = fs::read_dir(self.tokens()).unwrap().map(|token| token.unwrap().path());
        let files = tokens.flat_map(|token| fs::read_dir(token).unwrap());
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.ends_with(".object") && name != "token.object").count()
    }
}
