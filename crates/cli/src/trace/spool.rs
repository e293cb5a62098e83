//! Samples on disk, in blocks. What fits into a little memory never gets there.

use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};

use tempfile::SpooledTempFile;

/// Milliseconds since 1970, and bytes.
pub(super) type Pair = (i64, u64);

/// Samples in a block: large enough that reading one is no trouble, small enough for thousands of series.
const BLOCK: usize = 256;
/// Bytes of a sample.
const PAIR: usize = 16;
/// So much stays in memory.
const IN_MEMORY: usize = 1 << 20;

/// The blocks of all series, in a temporary file that is gone with the program.
#[derive(Debug)]
pub(super) struct Spool {
    file: SpooledTempFile,
    end: u64,
}

impl Default for Spool {
    fn default() -> Self {
        Self {
            file: SpooledTempFile::new(IN_MEMORY),
            end: 0,
        }
    }
}

/// Where the blocks of a series are. The last one can be short.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    starts: Vec<u64>,
    last: usize,
    pending: Vec<Pair>,
}

impl Blocks {
    pub fn push(&mut self, spool: &mut Spool, pair: Pair) -> io::Result<()> {
        self.pending.push(pair);
        if self.pending.len() >= BLOCK { self.flush(spool) } else { Ok(()) }
    }

    /// Writes what is left; nothing may be pushed any more after a short block.
    pub fn flush(&mut self, spool: &mut Spool) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        self.starts.push(spool.write(&self.pending)?);
        self.last = self.pending.len();
        self.pending.clear();
        Ok(())
    }

    /// How many blocks there are.
    pub fn count(&self) -> usize {
        self.starts.len()
    }

    /// Reads a block; empty where there is none.
    pub fn read(&self, spool: &mut Spool, block: usize, into: &mut Vec<Pair>) -> io::Result<()> {
        into.clear();
        let Some(start) = self.starts.get(block) else { return Ok(()) };
        let count = if block + 1 == self.starts.len() { self.last } else { BLOCK };
        spool.read(*start, count, into)
    }
}

impl Spool {
    fn write(&mut self, pairs: &[Pair]) -> io::Result<u64> {
        let mut bytes = Vec::with_capacity(pairs.len() * PAIR);
        for (at, used) in pairs {
            bytes.extend_from_slice(&at.to_le_bytes());
            bytes.extend_from_slice(&used.to_le_bytes());
        }
        let start = self.end;
        self.file.seek(SeekFrom::Start(start))?;
        self.file.write_all(&bytes)?;
        self.end += u64::try_from(bytes.len()).unwrap_or(0);
        Ok(start)
    }

    fn read(&mut self, start: u64, count: usize, into: &mut Vec<Pair>) -> io::Result<()> {
        let mut bytes = vec![0; count * PAIR];
        self.file.seek(SeekFrom::Start(start))?;
        self.file.read_exact(&mut bytes)?;
        let (words, _) = bytes.as_chunks::<8>();
        let mut words = words.iter();
        while let (Some(at), Some(used)) = (words.next(), words.next()) {
            into.push((i64::from_le_bytes(*at), u64::from_le_bytes(*used)));
        }
        Ok(())
    }
}
