//! The manager's metrics, as text has them.

use std::collections::BTreeMap;

/// One series.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Name of the metric.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

/// One scrape.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// Everything in it.
    pub series: Vec<Series>,
}

impl Metrics {
    /// Reads Prometheus' text format. Lines that are no series are left out.
    pub fn parse(text: &str) -> Self {
        let series = text.lines().filter(|line| !line.starts_with('#')).filter_map(parse_line).collect();
        Self { series }
    }

    /// The series of a metric that have all of the labels.
    pub fn all<'a>(&'a self, name: &'a str, labels: &'a [(&'a str, &'a str)]) -> impl Iterator<Item = &'a Series> {
        let has = |series: &Series, (key, value): &(&str, &str)| series.labels.get(*key).is_some_and(|v| v == value);
        let fits = move |series: &&Series| series.name == name && labels.iter().all(|label| has(series, label));
        self.series.iter().filter(fits)
    }

    /// The value of the first of them.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        self.all(name, labels).next().map(|series| series.value)
    }
}

fn parse_line(line: &str) -> Option<Series> {
    let (head, value) = line.rsplit_once(' ')?;
    let (name, labels) = match head.split_once('{') {
        Some((name, rest)) => (name, parse_labels(rest.strip_suffix('}')?)),
        None => (head, BTreeMap::new()),
    };
    Some(Series {
        name: name.to_owned(),
        labels,
        value: value.parse().ok()?,
    })
}

/// Values here are names of Kubernetes objects and reasons: none holds a quote or a comma.
fn parse_labels(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(key, value)| (key.to_owned(), value.trim_matches('"').to_owned()))
        .collect()
}
