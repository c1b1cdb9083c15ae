//! Files that are replaced while they are in use: a certificate that was renewed, a list that was
//! issued anew, a mounted secret.
//!
//! They are looked at rather than subscribed to: a look sees every way in which a file is replaced
//! (written to, renamed over, a symbolic link turned somewhere above it), on every file system.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::config::Stamp;

/// Tells when files are to be read again.
pub(super) struct Watch {
    paths: Vec<PathBuf>,
    /// As they were last read, whether they were found good or not.
    read: Stamps,
    /// As they were last looked at.
    seen: Stamps,
    next_look: Instant,
}

/// In the order of the paths; `None` where there is no file.
type Stamps = Vec<Option<Stamp>>;

impl Watch {
    /// Watches files that were read as they then were.
    pub(super) fn new(files: &[(PathBuf, Stamp)], now: Instant) -> Self {
        let read: Stamps = files.iter().map(|(_, stamp)| Some(*stamp)).collect();
        Self {
            paths: files.iter().map(|(path, _)| path.clone()).collect(),
            seen: read.clone(),
            read,
            next_look: now + INTERVAL,
        }
    }

    /// True where files have changed since they were last read, and not since the last look:
    /// whoever replaces a certificate and its key is given the time to replace both. Files that
    /// turn out to be bad are not read again before they change again.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        if now < self.next_look {
            return false;
        }
        self.next_look = now + INTERVAL;
        let stamps = self.paths.iter().map(|path| Stamp::look(path)).collect();
        self.saw(stamps)
    }

    fn saw(&mut self, stamps: Stamps) -> bool {
        let is_settled = self.seen == stamps;
        self.seen = stamps;
        if !is_settled || self.read == self.seen {
            return false;
        }
        self.read.clone_from(&self.seen);
        true
    }
}

/// Between two looks. Two of them are the longest that a renewed certificate waits.
const INTERVAL: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use super::*;

    /// A watch over a link to a file below another link, as Kubernetes mounts secrets, and the
    /// time.
    fn mounted(dir: &Path) -> (Watch, Instant) {
        for version in ["one", "two"] {
            fs::create_dir(dir.join(version)).unwrap();
            fs::write(dir.join(version).join("cert.pem"), version).unwrap();
        }
        symlink("one", dir.join("data")).unwrap();
        let path = dir.join("cert.pem");
        symlink("data/cert.pem", &path).unwrap();
        let stamp = Stamp::look(&path).unwrap();
        let now = Instant::now();
        (Watch::new(&[(path, stamp)], now), now)
    }

    /// What the next looks say.
    fn looks(watch: &mut Watch, now: &mut Instant, count: usize) -> Vec<bool> {
        let look = |_| {
            *now += INTERVAL;
            watch.is_due(*now)
        };
        (0..count).map(look).collect()
    }

    #[test]
    fn a_link_that_is_turned_is_seen_once_it_has_settled() {
        let dir = tempfile::tempdir().unwrap();
        let (mut watch, mut now) = mounted(dir.path());
        assert_eq!(looks(&mut watch, &mut now, 2), [false, false]);
        symlink("two", dir.path().join("new")).unwrap();
        fs::rename(dir.path().join("new"), dir.path().join("data")).unwrap();
        assert_eq!(looks(&mut watch, &mut now, 3), [false, true, false]);
    }

    #[test]
    fn files_that_go_on_changing_are_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let (mut watch, mut now) = mounted(dir.path());
        for text in ["a", "ab", "abc"] {
            fs::write(dir.path().join("one/cert.pem"), text).unwrap();
            assert_eq!(looks(&mut watch, &mut now, 1), [false], "{text}");
        }
        assert_eq!(looks(&mut watch, &mut now, 2), [true, false]);
    }

    #[test]
    fn a_file_that_is_gone_and_comes_back_is_read_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let (mut watch, mut now) = mounted(dir.path());
        fs::rename(dir.path().join("one"), dir.path().join("away")).unwrap();
        assert_eq!(looks(&mut watch, &mut now, 3), [false, true, false]);
        fs::rename(dir.path().join("away"), dir.path().join("one")).unwrap();
        assert_eq!(looks(&mut watch, &mut now, 3), [false, true, false]);
    }

    #[test]
    fn looks_are_an_interval_apart() {
        let dir = tempfile::tempdir().unwrap();
        let (mut watch, now) = mounted(dir.path());
        fs::write(dir.path().join("one/cert.pem"), "renewed").unwrap();
        let almost = now + INTERVAL - Duration::from_nanos(1);
        let at = [
            almost,
            now + INTERVAL,
            almost + INTERVAL,
            now + 2 * INTERVAL,
        ];
        assert_eq!(at.map(|at| watch.is_due(at)), [false, false, false, true]);
    }
}
