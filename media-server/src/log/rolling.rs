//! A log file that is rotated by its size: `FILE.1` is the newest of the old ones.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// An open log file.
#[derive(Debug)]
pub(super) struct RollingFile {
    path: PathBuf,
    file: File,
    size: u64,
    /// 0 for never.
    max_size: u64,
    /// The size at which it is rotated, more than `max_size` after that failed.
    limit: u64,
    max_files: usize,
    /// A device or a pipe is not renamed.
    regular: bool,
}

impl RollingFile {
    /// Opens it, to append; its folder is made where it is missing.
    pub(super) fn open(path: &Path, max_size: u64, max_files: usize) -> io::Result<Self> {
        let (file, size, regular) = append(path)?;
        Ok(RollingFile { path: path.to_owned(), file, size, max_size, limit: max_size, max_files, regular })
    }

    /// Appends a line; the file that it would make too large is rotated before. One that can't be (a file that is
    /// mounted by itself) grows on, and it is tried again when it has grown by as much again.
    pub(super) fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        let grown = self.size + line.len() as u64;
        if self.regular && self.max_size > 0 && self.size > 0 && grown > self.limit {
            self.limit = match self.rotate() {
                Ok(()) => self.max_size,
                Err(_) => self.size.saturating_add(self.max_size),
            };
        }
        self.file.write_all(line)?;
        self.size += line.len() as u64;
        Ok(())
    }

    fn old(&self, number: usize) -> PathBuf {
        let mut name = OsString::from(&self.path);
        name.push(format!(".{number}"));
        PathBuf::from(name)
    }

    fn rotate(&mut self) -> io::Result<()> {
        if self.max_files == 0 {
            self.file.set_len(0)?;
            self.size = 0;
            return Ok(());
        }
        // The old ones are moved only when this one can be.
        fs::rename(&self.path, self.old(0))?;
        match append(&self.path) {
            Ok(new) => (self.file, self.size, self.regular) = new,
            Err(error) => {
                let _ = fs::rename(self.old(0), &self.path);
                return Err(error);
            }
        }
        for number in (0..self.max_files).rev() {
            // Most of them are not there yet.
            let _ = fs::rename(self.old(number), self.old(number + 1));
        }
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<(File, u64, bool)> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder).map_err(named)?;
    }
    let file = File::options().create(true).append(true).open(path).map_err(named)?;
    let about = file.metadata().map_err(named)?;
    Ok((file, about.len(), about.is_file()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &Path) -> Vec<u32> {
        let text = fs::read_to_string(path).unwrap();
        text.lines().map(|line| line.parse().unwrap()).collect()
    }

    #[test]
    fn old_files_are_bounded_and_nothing_between_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("logs/srs.log");
        let mut file = RollingFile::open(&path, 50, 3).unwrap();
        for number in 1000..1100 {
            file.write_line(format!("{number}\n").as_bytes()).unwrap();
        }
        drop(file);
        let names = fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!(names, 4);
        let mut all = Vec::new();
        for name in ["srs.log.3", "srs.log.2", "srs.log.1", "srs.log"] {
            let file = path.with_file_name(name);
            assert!(fs::metadata(&file).unwrap().len() <= 50, "{name}");
            all.extend(lines(&file));
        }
        let first = all[0];
        assert_eq!(all, (first..1100).collect::<Vec<_>>());
        // A restart goes on where the last run ended.
        let mut file = RollingFile::open(&path, 50, 3).unwrap();
        file.write_line(b"1100\n").unwrap();
        assert_eq!(lines(&path).last(), Some(&1100));
    }

    #[test]
    fn no_old_file_may_be_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("srs.log");
        let mut file = RollingFile::open(&path, 10, 0).unwrap();
        for number in 1000..1010 {
            file.write_line(format!("{number}\n").as_bytes()).unwrap();
        }
        assert_eq!(lines(&path), [1008, 1009]);
    }

    #[test]
    fn a_file_that_can_t_be_renamed_is_written_on_and_the_old_ones_stay() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("srs.log");
        let old = dir.path().join("srs.log.1");
        fs::write(&old, "7\n").unwrap();
        // A folder in the way, as an error of rename that root gets too.
        let way = dir.path().join("srs.log.0");
        fs::create_dir(&way).unwrap();
        let mut file = RollingFile::open(&path, 10, 3).unwrap();
        for number in 1000..1010 {
            file.write_line(format!("{number}\n").as_bytes()).unwrap();
        }
        assert_eq!(lines(&path), (1000..1010).collect::<Vec<_>>());
        assert_eq!(lines(&old), [7]);
        fs::remove_dir(&way).unwrap();
        for number in 1010..1014 {
            file.write_line(format!("{number}\n").as_bytes()).unwrap();
        }
        let names = ["srs.log.3", "srs.log.2", "srs.log.1", "srs.log"];
        let all: Vec<u32> = names.iter().flat_map(|name| lines(&dir.path().join(name))).collect();
        assert_eq!(all, [7].into_iter().chain(1000..1014).collect::<Vec<_>>());
    }

    #[test]
    fn a_full_disk_is_an_error_and_a_device_is_not_renamed() {
        let mut file = RollingFile::open(Path::new("/dev/full"), 1, 3).unwrap();
        for _ in 0..3 {
            assert_eq!(file.write_line(b"line\n").unwrap_err().kind(), io::ErrorKind::StorageFull);
        }
        assert!(!Path::new("/dev/full.1").exists());
    }
}
