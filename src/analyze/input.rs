//! A file that is opened once: a pipe has its bytes only once.

use super::AnalyzeError;
use super::progress::Progress;
use std::fs::File;
use std::io::{ErrorKind, Read, Seek};
use std::path::{Path, PathBuf};

/// Bytes of one read.
const READ_BYTES: usize = 256 << 10;
/// Bytes that tell what a file is.
const HEAD_BYTES: usize = 4;

/// An open file.
#[derive(Debug)]
pub(super) struct Input {
    path: PathBuf,
    file: File,
    /// What was read to see what it is, and is not handed on yet.
    head: Vec<u8>,
    /// Bytes of a regular file; `None`: a pipe or a device.
    total: Option<u64>,
}

impl Input {
    /// Opens a file and reads its first bytes.
    pub fn open(path: &Path) -> Result<Input, AnalyzeError> {
        let file = File::open(path).map_err(AnalyzeError::io(format!("open {}", path.display())))?;
        let total = file.metadata().ok().filter(|metadata| metadata.is_file()).map(|metadata| metadata.len());
        let mut input = Input { path: path.to_owned(), file, head: vec![0; HEAD_BYTES], total };
        let mut length = 0;
        while let Some(room) = input.head.get_mut(length..).filter(|room| !room.is_empty()) {
            match read(&mut input.file, room, path)? {
                0 => break,
                count => length += count,
            }
        }
        input.head.truncate(length);
        Ok(input)
    }

    /// The first bytes, at most four.
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// Whether it can be read twice.
    pub fn is_regular(&self) -> bool {
        self.total.is_some()
    }

    /// Reads it to its end, piece by piece; `take` says whether it wants to go on. A regular file can be read again.
    pub fn read_all(
        &mut self,
        progress: bool,
        mut take: impl FnMut(&[u8]) -> Result<bool, AnalyzeError>,
    ) -> Result<(), AnalyzeError> {
        let total = self.total.unwrap_or_default();
        let (mut progress, mut done) = (Progress::new(progress && total > 0), 0u64);
        if self.is_regular() {
            self.file.rewind().map_err(AnalyzeError::io(format!("read {}", self.path.display())))?;
            self.head.clear();
        }
        let mut buffer = vec![0; READ_BYTES];
        let mut read_bytes = self.head.len();
        if let Some(place) = buffer.get_mut(..read_bytes) {
            place.copy_from_slice(&self.head);
        }
        self.head.clear();
        loop {
            if read_bytes == 0 {
                read_bytes = read(&mut self.file, &mut buffer, &self.path)?;
            }
            if read_bytes == 0 || !take(buffer.get(..read_bytes).unwrap_or_default())? {
                return Ok(());
            }
            done += read_bytes as u64;
            read_bytes = 0;
            progress.update(|| {
                format!("{}: {} %", self.path.display(), (done * 100).checked_div(total).unwrap_or(0))
            });
        }
    }
}

fn read(file: &mut File, buffer: &mut [u8], path: &Path) -> Result<usize, AnalyzeError> {
    loop {
        match file.read(buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(AnalyzeError::io(format!("read {}", path.display()))(error)),
            Ok(count) => return Ok(count),
        }
    }
}
