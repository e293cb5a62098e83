//! Traces as Prometheus answers a range query (`/api/v1/query_range`): a matrix, a series after the other.
//!
//! The answer is read as a stream: of a series, no more than a block is in memory.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;

use csm_api::Role;
use csm_core::world::VolumeKey;
use csm_units::Bytes;
use jiff::Timestamp;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;

use super::{Broken, Collector, Name, value};

/// Where samples go. The series are counted: lines name none, for an answer has but one.
struct Sink<'a> {
    collector: &'a mut Collector,
    /// What cannot be kept, or is out of order: serde's errors are texts.
    broken: Option<Broken>,
    nan: u64,
    count: u64,
}

pub(super) fn read(input: impl Read, collector: &mut Collector) -> Result<(), Broken> {
    let mut into = Sink {
        collector,
        broken: None,
        nan: 0,
        count: 0,
    };
    let mut deserializer = serde_json::Deserializer::from_reader(input);
    let done = Answer(&mut into).deserialize(&mut deserializer).and_then(|()| deserializer.end());
    let nan = into.nan;
    if let Err(error) = done {
        let (line, column) = (error.line() as u64, error.column() as u64);
        return Err(match into.broken.take() {
            Some(Broken::At(_, _, message)) => Broken::At(line, column, message),
            Some(other) => other,
            None if error.classify() == Category::Io => Broken::Unreadable(error.into()),
            None => Broken::At(line, column, without_place(&error)),
        });
    }
    if nan > 0 {
        let file = &collector.file;
        collector
            .notes
            .push(format!("{file}: samples that are NaN, and are taken as missing: {nan}"));
    }
    Ok(())
}

/// serde_json's message without " at line 1 column 5", which is said before it.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&place).map_or(text.clone(), str::to_owned)
}

const EXPECTED: &str = "Prometheus' answer to a range query, such as that of curl 'http://prometheus:9090/api/v1/query_range?query=kubelet_volume_stats_used_bytes&start=…&end=…&step=60'";

/// Each part of an answer is read by a visitor that hands samples on instead of keeping them.
macro_rules! seed {
    ($($name:ident by $method:ident),+) => {$(
        impl<'de> DeserializeSeed<'de> for $name<'_, '_> {
            type Value = ();
            fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
                deserializer.$method(self)
            }
        }
    )+};
}
seed!(Answer by deserialize_map, Data by deserialize_map, List by deserialize_seq, One by deserialize_map, Values by deserialize_seq);

/// The answer as a whole.
struct Answer<'a, 'b>(&'a mut Sink<'b>);

impl<'de> Visitor<'de> for Answer<'_, '_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(EXPECTED)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut found = false;
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "status" => {
                    let status: String = map.next_value()?;
                    if status != "success" {
                        return Err(A::Error::custom(format_args!("the query failed (status {status:?})")));
                    }
                }
                "data" => {
                    found = true;
                    map.next_value_seed(Data(&mut *self.0))?;
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        if found {
            Ok(())
        } else {
            Err(A::Error::custom(format_args!("no {EXPECTED}")))
        }
    }
}

/// `data`: resultType and result.
struct Data<'a, 'b>(&'a mut Sink<'b>);

impl<'de> Visitor<'de> for Data<'_, '_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("data with resultType and result")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "resultType" => {
                    let kind: String = map.next_value()?;
                    if kind != "matrix" {
                        let message = format_args!("the answer is a {kind}; ask /api/v1/query_range, which answers with a matrix");
                        return Err(A::Error::custom(message));
                    }
                }
                "result" => map.next_value_seed(List(&mut *self.0))?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// The series.
struct List<'a, 'b>(&'a mut Sink<'b>);

impl<'de> Visitor<'de> for List<'_, '_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of series")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(One(&mut *self.0))?.is_some() {}
        Ok(())
    }
}

/// A series: `metric`, then `values`.
struct One<'a, 'b>(&'a mut Sink<'b>);

impl<'de> Visitor<'de> for One<'_, '_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a series with metric and values")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut series = None;
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "metric" => {
                    let labels: BTreeMap<String, String> = map.next_value()?;
                    self.0.count += 1;
                    // Each series of an answer is one by itself, also where two are of the same PVC.
                    let (key, line) = (self.0.count.to_le_bytes(), 0);
                    let found = self
                        .0
                        .collector
                        .series(&key, line, || name(&labels).map_err(|m| Broken::At(1, 1, m)));
                    series = Some(keep(&mut self.0.broken, found)?);
                }
                "values" => {
                    let Some(series) = series else {
                        return Err(A::Error::custom("a series has values before its metric"));
                    };
                    map.next_value_seed(Values {
                        into: &mut *self.0,
                        series,
                    })?;
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// Keeps an error aside that serde cannot carry.
fn keep<T, E: serde::de::Error>(aside: &mut Option<Broken>, result: Result<T, Broken>) -> Result<T, E> {
    result.map_err(|broken| {
        *aside = Some(broken);
        E::custom("")
    })
}

/// What a series is of, by the labels of kubelets' metrics, or of ours.
fn name(labels: &BTreeMap<String, String>) -> Result<Name, String> {
    let label = |names: &[&str]| names.iter().find_map(|name| labels.get(*name)).cloned();
    let mut name = Name {
        namespace: label(&["exported_namespace", "namespace"]),
        pvc: label(&["persistentvolumeclaim", "pvc"]),
        ..Name::default()
    };
    if name.pvc.is_some() {
        return Ok(name);
    }
    name.cluster = label(&["cluster", "cnpg_cluster", "cnpg_io_cluster"]);
    name.instance = label(&["exported_instance", "instance", "pod"]);
    let role = label(&["volume_type", "role"]);
    let tablespace = label(&["tablespace"]).filter(|t| !t.is_empty());
    name.volume = match (role.as_deref(), tablespace) {
        (_, Some(tablespace)) => Some(VolumeKey::tablespace(tablespace)),
        (Some(role), None) if role == Role::Wal.as_str() => Some(VolumeKey::WAL),
        (Some(role), None) if role == Role::Data.as_str() => Some(VolumeKey::DATA),
        _ => None,
    };
    if name.cluster.is_none() || name.volume.is_none() {
        let known: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value:?}")).collect();
        return Err(format!(
            "a series says of no PVC and no volume ({{{}}}); it needs the label persistentvolumeclaim, or cluster and volume_type",
            known.join(", ")
        ));
    }
    Ok(name)
}

/// `values`: pairs of a time and a text.
struct Values<'a, 'b> {
    into: &'a mut Sink<'b>,
    series: usize,
}

impl<'de> Visitor<'de> for Values<'_, '_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("pairs of a time and a value, such as [1772366400, \"9017753600\"]")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some((at, text)) = seq.next_element::<(f64, String)>()? {
            if text.eq_ignore_ascii_case("NaN") {
                self.into.nan += 1;
                continue;
            }
            let sample = time(at).and_then(|at| Ok((at, value::used(&text)?)));
            let sample = sample.map_err(|message| Broken::At(1, 1, message));
            let (at, used): (Timestamp, Bytes) = keep(&mut self.into.broken, sample)?;
            let kept = self.into.collector.sample(self.series, (0, 0), at, used);
            keep(&mut self.into.broken, kept)?;
        }
        Ok(())
    }
}

/// Prometheus writes times in seconds, with up to three digits after the point.
fn time(seconds: f64) -> Result<Timestamp, String> {
    let millis = (seconds * 1000.0).round();
    // Below 2^53, so that each is exact.
    if !(0.0..9e15).contains(&millis) {
        return Err(format!("{seconds} seconds since 1970 are no time"));
    }
    #[expect(clippy::cast_possible_truncation, reason = "it is in range")]
    value::time(&format!("{}.{:03}", millis as i64 / 1000, millis as i64 % 1000))
}
