//! Notices that files changed by their bytes. Secret volumes swap a symlink, which file watches miss
//! (kubernetes/autoscaler certs.go re-adds its watch for that reason).

use std::io;
use std::path::PathBuf;

/// Files that are read together, as a certificate and its key.
#[derive(Debug)]
pub struct Poll {
    paths: Vec<PathBuf>,
    last: Option<Vec<Vec<u8>>>,
}

impl Poll {
    /// Watches these files; the first call of `changed` returns their contents.
    pub fn new(paths: Vec<PathBuf>) -> Self {
        Self { paths, last: None }
    }

    /// The contents in the order of the paths if any byte differs from the last time, else `None`. When a file
    /// can't be read the old contents stay in force.
    pub fn changed(&mut self) -> io::Result<Option<Vec<Vec<u8>>>> {
        let now = self
            .paths
            .iter()
            .map(std::fs::read)
            .collect::<io::Result<Vec<_>>>()?;
        if self.last.as_ref() == Some(&now) {
            return Ok(None);
        }
        self.last = Some(now.clone());
        Ok(Some(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_swapped_symlink_is_a_change_and_a_touch_is_none() {
        let folder = std::env::temp_dir().join(format!("msars-poll-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (one, two, link) = (folder.join("1"), folder.join("2"), folder.join("tls.crt"));
        std::fs::write(&one, "one").unwrap();
        std::fs::write(&two, "two").unwrap();
        std::os::unix::fs::symlink(&one, &link).unwrap();
        let mut poll = Poll::new(vec![link.clone()]);
        assert_eq!(poll.changed().unwrap(), Some(vec![b"one".to_vec()]));
        std::fs::write(&one, "one").unwrap();
        assert_eq!(poll.changed().unwrap(), None);
        std::fs::remove_file(&link).unwrap();
        assert!(poll.changed().is_err());
        std::os::unix::fs::symlink(&two, &link).unwrap();
        assert_eq!(poll.changed().unwrap(), Some(vec![b"two".to_vec()]));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
