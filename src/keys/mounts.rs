//! What a file lies on, in words, for those who judge what an overwrite in place is worth there.

use std::path::Path;

/// Where the system says what is mounted where.
const MOUNTS: &str = "/proc/self/mounts";

/// The file system that a path lies on, by its name; "a file system that is not known" where the
/// system does not say.
pub(super) fn of(path: &Path) -> String {
    let whole = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mounts = std::fs::read_to_string(MOUNTS).unwrap_or_default();
    named(&mounts, &whole).unwrap_or("a file system that is not known").to_owned()
}

/// The type of the innermost mount that a path lies in; of two on one place the later one.
fn named<'m>(mounts: &'m str, path: &Path) -> Option<&'m str> {
    let mount = |line: &'m str| {
        let mut words = line.split(' ');
        let (place, kind) = (Path::new(words.nth(1)?), words.next()?);
        path.starts_with(place).then(|| (place.components().count(), kind))
    };
    mounts.lines().filter_map(mount).max_by_key(|(depth, _)| *depth).map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_mount_counts() {
        let mounts = "/dev/vda / ext4 rw 0 0\ntmpfs /run tmpfs rw 0 0\n\
                      overlay /run/keys overlay rw 0 0\nzfs /run/keys zfs rw 0 0\n";
        let of = |path: &str| named(mounts, Path::new(path));
        assert_eq!(of("/home/keys/vek"), Some("ext4"));
        assert_eq!(of("/run/vek"), Some("tmpfs"));
        assert_eq!(of("/run/keys/vek"), Some("zfs"));
        assert_eq!(of("/running/vek"), Some("ext4"));
        assert_eq!(named("", Path::new("/x")), None);
        assert!(!super::of(Path::new("/")).is_empty());
    }
}
