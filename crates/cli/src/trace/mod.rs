//! Usage over time: read once, checked to its last line, and kept in little memory whatever its length.
//!
//! `csv` and `prometheus` read, `spool` keeps; what was read is handed out in the order of time ([`Merged`]). A broken
//! line is found before anything is made of the others.

mod csv;
mod fill;
mod merged;
mod progress;
mod prometheus;
mod spool;
mod value;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read};
use std::path::Path;

use csm_core::world::VolumeKey;
use csm_gather::offline::Mistake;
use csm_units::Bytes;
use jiff::{SignedDuration, Timestamp};

pub use fill::{Fill, Rate, RateError};
pub use merged::Merged;
pub use progress::Progress;

use self::spool::{Blocks, Spool};
use crate::error::Error;

/// Bytes that are read at a time.
const BUFFER: usize = 1 << 16;
/// So many different steps between samples are told apart; real traces have a handful.
const STEPS: usize = 1024;

/// What a series is of, as far as it says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    /// Namespace of the Cluster.
    pub namespace: Option<String>,
    /// Name of the Cluster.
    pub cluster: Option<String>,
    /// The volume.
    pub volume: Option<VolumeKey>,
    /// The instance; none: all of them.
    pub instance: Option<String>,
    /// Name of the PVC, where it goes by that.
    pub pvc: Option<String>,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(pvc) = &self.pvc {
            return write!(
                f,
                "PVC {}{pvc}",
                self.namespace.as_ref().map_or_else(String::new, |n| format!("{n}/"))
            );
        }
        let mut parts: Vec<String> = Vec::new();
        match (&self.namespace, &self.cluster) {
            (Some(namespace), Some(cluster)) => parts.push(format!("{namespace}/{cluster}")),
            (None, Some(cluster)) => parts.push(cluster.clone()),
            (_, None) => {}
        }
        parts.extend(self.volume.as_ref().map(ToString::to_string));
        parts.extend(self.instance.clone());
        if parts.is_empty() {
            return f.write_str("the trace");
        }
        f.write_str(&parts.join(" "))
    }
}

/// A series of samples.
#[derive(Debug)]
pub struct Series {
    /// What it is of.
    pub name: Name,
    /// The line that it begins in, for messages; 0 where that is not known.
    pub line: u64,
    /// Its first sample.
    pub first: Timestamp,
    /// Its last one.
    pub last: Timestamp,
    last_millis: i64,
    last_line: u64,
    blocks: Blocks,
}

/// A trace that is valid.
#[derive(Debug)]
pub struct Trace {
    /// Its name, for messages.
    pub file: String,
    /// Its series, in the order of the file.
    pub series: Vec<Series>,
    /// How many samples there are.
    pub samples: u64,
    /// The usual time between two samples of a series; none where no series has two.
    pub step: Option<SignedDuration>,
    /// What limits what can be said.
    pub notes: Vec<String>,
    spool: Spool,
}

impl Trace {
    /// Reads a trace: CSV, or Prometheus' answer to a range query. `-` is standard input.
    ///
    /// # Errors
    /// Where it cannot be read, or is not valid: the first thing that is wrong, with its line.
    pub fn read(path: &Path, progress: &mut Progress) -> Result<Self, Error> {
        let unreadable = |source: io::Error| Error::File {
            path: path.to_owned(),
            source,
        };
        let (input, name, size): (Box<dyn Read>, _, _) = if path.as_os_str() == "-" {
            (Box::new(io::stdin()), "standard input".to_owned(), None)
        } else {
            let file = File::open(path).map_err(unreadable)?;
            let size = file.metadata().ok().filter(std::fs::Metadata::is_file).map(|m| m.len());
            (Box::new(file), path.display().to_string(), size)
        };
        progress.begin("reading the trace", size.unwrap_or(0));
        let counted = Counted { inner: input, progress };
        let mut reader = BufReader::with_capacity(BUFFER, counted);
        let start = reader.fill_buf().map_err(unreadable)?;
        let start = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start);
        let first = start.iter().find(|byte| !byte.is_ascii_whitespace()).copied();
        let mut collector = Collector::new(name.clone());
        let read = match first {
            Some(b'{' | b'[') => prometheus::read(reader, &mut collector),
            Some(_) => csv::read(reader, &mut collector),
            None => Err(Broken::At(1, 1, "the trace is empty; it begins with a line time,used".to_owned())),
        };
        let finished = read.and_then(|()| collector.finish());
        progress.end();
        finished.map_err(|broken| match broken {
            Broken::Unreadable(source) => unreadable(source),
            Broken::Spool(source) => Error::Spool(source),
            Broken::At(line, column, message) => Error::Input(vec![Mistake {
                file: name,
                place: Some((line, column)),
                message,
            }]),
        })
    }

    /// When its first sample is, and its last one; none where there are none.
    #[must_use]
    pub fn span(&self) -> Option<(Timestamp, Timestamp)> {
        let from = self.series.iter().map(|s| s.first).min()?;
        Some((from, self.series.iter().map(|s| s.last).max()?))
    }

    /// The samples of these series (places in [`Self::series`]) in the order of time.
    pub fn merged<'a>(&'a mut self, series: &[usize]) -> Merged<'a> {
        let blocks = series.iter().filter_map(|index| self.series.get(*index)).map(|s| &s.blocks);
        Merged::new(&mut self.spool, blocks)
    }
}

/// Why a trace is of no use.
#[derive(Debug)]
enum Broken {
    /// It cannot be read.
    Unreadable(io::Error),
    /// What was read cannot be kept.
    Spool(io::Error),
    /// What is wrong at a line and a column, and how it should be.
    At(u64, u64, String),
}

/// Takes in samples, series by series or all mixed.
struct Collector {
    file: String,
    series: Vec<Series>,
    /// Series by the text that names them.
    by_key: HashMap<Vec<u8>, usize>,
    samples: u64,
    repeated: u64,
    /// Times between samples, in milliseconds, and how often each occurs.
    steps: BTreeMap<i64, u64>,
    notes: Vec<String>,
    spool: Spool,
}

impl Collector {
    fn new(file: String) -> Self {
        Self {
            file,
            series: Vec::new(),
            by_key: HashMap::new(),
            samples: 0,
            repeated: 0,
            steps: BTreeMap::new(),
            notes: Vec::new(),
            spool: Spool::default(),
        }
    }

    /// The series that is named by this text, in whatever form; `name` is asked where it is new.
    fn series(&mut self, key: &[u8], line: u64, name: impl FnOnce() -> Result<Name, Broken>) -> Result<usize, Broken> {
        if let Some(index) = self.by_key.get(key) {
            return Ok(*index);
        }
        let index = self.series.len();
        self.series.push(Series {
            name: name()?,
            line,
            first: Timestamp::MAX,
            last: Timestamp::MIN,
            last_millis: i64::MIN,
            last_line: line,
            blocks: Blocks::default(),
        });
        self.by_key.insert(key.to_vec(), index);
        Ok(index)
    }

    /// A sample of a series. Its time may be that of the one before, but not earlier.
    fn sample(&mut self, index: usize, (line, column): (u64, u64), at: Timestamp, used: Bytes) -> Result<(), Broken> {
        let Some(series) = self.series.get_mut(index) else { return Ok(()) };
        let millis = at.as_millisecond();
        let is_first = series.last_millis == i64::MIN;
        if !is_first && millis < series.last_millis {
            let (last, last_line, name) = (series.last, series.last_line, &series.name);
            // Of a Prometheus answer, no lines are known.
            let of_line = if last_line == 0 {
                String::new()
            } else {
                format!(" of line {last_line}")
            };
            let message = format!("{at} is before {last}{of_line}, in the samples of {name}; sort the trace by time");
            return Err(Broken::At(line, column, message));
        }
        if is_first {
            series.first = at;
        } else {
            let step = millis.saturating_sub(series.last_millis);
            self.repeated += u64::from(step == 0);
            if step > 0 && (self.steps.len() < STEPS || self.steps.contains_key(&step)) {
                *self.steps.entry(step).or_default() += 1;
            }
        }
        (series.last, series.last_millis, series.last_line) = (at, millis, line);
        self.samples += 1;
        series.blocks.push(&mut self.spool, (millis, used.get())).map_err(Broken::Spool)
    }

    fn finish(&mut self) -> Result<Trace, Broken> {
        if self.samples == 0 {
            return Err(Broken::At(1, 1, "the trace has no samples".to_owned()));
        }
        for series in &mut self.series {
            series.blocks.flush(&mut self.spool).map_err(Broken::Spool)?;
        }
        self.series.retain(|series| series.last_millis != i64::MIN);
        let usual = self.steps.iter().max_by_key(|(step, count)| (**count, -**step));
        let mut notes = std::mem::take(&mut self.notes);
        if self.repeated > 0 {
            let (count, file) = (self.repeated, &self.file);
            let note = format!("{file}: samples of the same moment as the one before: {count}; the largest of a moment counts");
            notes.push(note);
        }
        Ok(Trace {
            file: std::mem::take(&mut self.file),
            series: std::mem::take(&mut self.series),
            samples: self.samples,
            step: usual.map(|(step, _)| SignedDuration::from_millis(*step)),
            notes,
            spool: std::mem::take(&mut self.spool),
        })
    }
}

/// Counts what is read.
struct Counted<'a> {
    inner: Box<dyn Read>,
    progress: &'a mut Progress,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.progress.add(u64::try_from(count).unwrap_or(0));
        Ok(count)
    }
}
