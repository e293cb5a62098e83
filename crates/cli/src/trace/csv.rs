//! Traces as CSV: a header, then a sample a line.

use std::io::Read;

use csv::{ByteRecord, ReaderBuilder};

use super::{Broken, Collector, Name, value};

const HEADER: &str = "the first line names the columns: time,used for one volume, or time,cluster,volume,used for many";

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Time,
    Used,
    Namespace,
    Cluster,
    Volume,
    Instance,
    Pvc,
}

impl Column {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "time" | "timestamp" => Self::Time,
            "used" => Self::Used,
            "namespace" => Self::Namespace,
            "cluster" => Self::Cluster,
            "volume" => Self::Volume,
            "instance" => Self::Instance,
            "pvc" | "persistentvolumeclaim" => Self::Pvc,
            _ => return None,
        })
    }
}

/// Where the columns are.
struct Header {
    columns: Vec<Column>,
    time: usize,
    used: usize,
    line: u64,
}

pub(super) fn read(input: impl Read, collector: &mut Collector) -> Result<(), Broken> {
    // Fields are counted here, for a message that says what to do.
    let mut reader = ReaderBuilder::new().has_headers(false).flexible(true).from_reader(input);
    let mut record = ByteRecord::new();
    let mut header: Option<Header> = None;
    let mut key = Vec::new();
    loop {
        if !reader.read_byte_record(&mut record).map_err(broken)? {
            break;
        }
        let line = record.position().map_or(1, csv::Position::line);
        let Some(header) = &header else {
            header = Some(columns(&record, line)?);
            continue;
        };
        if record.len() != header.columns.len() {
            let (has, wants) = (record.len(), header.columns.len());
            let message = format!("the line has {has} fields, and {wants} are named in line {}", header.line);
            return Err(Broken::At(line, 1, message));
        }
        let at = value::time(&text(&record, header.time, line)?).map_err(|message| wrong(&record, header.time, line, message))?;
        let used = value::used(&text(&record, header.used, line)?).map_err(|message| wrong(&record, header.used, line, message))?;
        key.clear();
        for (field, column) in record.iter().zip(&header.columns) {
            if !matches!(column, Column::Time | Column::Used) {
                key.extend_from_slice(field);
                key.push(0);
            }
        }
        let series = collector.series(&key, line, || name(&record, &header.columns, line))?;
        collector.sample(series, (line, column(&record, header.time)), at, used)?;
    }
    match header {
        Some(_) => Ok(()),
        None => Err(Broken::At(1, 1, HEADER.to_owned())),
    }
}

fn broken(error: csv::Error) -> Broken {
    let line = error.position().map_or(1, csv::Position::line);
    match error.into_kind() {
        csv::ErrorKind::Io(source) => Broken::Unreadable(source),
        other => Broken::At(line, 1, format!("no CSV: {other:?}")),
    }
}

fn columns(record: &ByteRecord, line: u64) -> Result<Header, Broken> {
    let mut columns = Vec::new();
    for index in 0..record.len() {
        let name = text(record, index, line)?;
        let name = name.trim().trim_start_matches('\u{feff}').to_lowercase();
        let Some(found) = Column::of(&name) else {
            let message = format!("unknown column {name:?}; {HEADER} (also namespace, instance and pvc)");
            return Err(wrong(record, index, line, message));
        };
        if columns.contains(&found) {
            return Err(wrong(record, index, line, format!("column {name} is there twice")));
        }
        columns.push(found);
    }
    let place = |wanted: Column| columns.iter().position(|c| *c == wanted);
    match (place(Column::Time), place(Column::Used)) {
        (Some(time), Some(used)) => Ok(Header { columns, time, used, line }),
        _ => Err(Broken::At(line, 1, HEADER.to_owned())),
    }
}

/// What the series of a line is of.
fn name(record: &ByteRecord, columns: &[Column], line: u64) -> Result<Name, Broken> {
    let mut name = Name::default();
    for (index, column) in columns.iter().enumerate() {
        let field = text(record, index, line)?;
        let field = field.trim();
        if field.is_empty() {
            continue;
        }
        let own = Some(field.to_owned());
        match column {
            Column::Time | Column::Used => {}
            Column::Namespace => name.namespace = own,
            Column::Instance => name.instance = own,
            Column::Pvc => name.pvc = own,
            Column::Cluster => match field.split_once('/') {
                Some((namespace, cluster)) => {
                    name.namespace = Some(namespace.to_owned());
                    name.cluster = Some(cluster.to_owned());
                }
                None => name.cluster = own,
            },
            Column::Volume => {
                let volume = field.parse();
                name.volume = Some(volume.map_err(|error| wrong(record, index, line, format!("{error}")))?);
            }
        }
    }
    Ok(name)
}

fn text(record: &ByteRecord, index: usize, line: u64) -> Result<std::borrow::Cow<'_, str>, Broken> {
    let field = record.get(index).unwrap_or_default();
    match str::from_utf8(field) {
        Ok(text) => Ok(text.into()),
        Err(_) => Err(wrong(record, index, line, "not a text in UTF-8".to_owned())),
    }
}

fn wrong(record: &ByteRecord, index: usize, line: u64, message: String) -> Broken {
    Broken::At(line, column(record, index), message)
}

/// Where a field begins, from 1, as long as none before it is in quotes.
fn column(record: &ByteRecord, index: usize) -> u64 {
    let before: usize = record.iter().take(index).map(|field| field.len() + 1).sum();
    u64::try_from(before + 1).unwrap_or(1)
}
