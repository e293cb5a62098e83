//! What a scrape of `/metrics` is answered with.
//!
//! The text of a large fleet is tens of megabytes, most of them repeated names. It is compressed while it is written, so
//! that it never stands in memory as a whole. It is written to its end before it is sent: metrics are locked while they
//! are written, and a slow reader must not hold them.

use std::fmt;
use std::io::{Cursor, Read as _, Write as _};

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

/// Bytes of text that are unpacked at a time for a reader that does not take gzip.
const CHUNK: usize = 64 * 1024;

/// All metrics at one moment, in the OpenMetrics text format, compressed.
#[derive(Debug)]
pub(crate) struct Scrape(Bytes);

impl Scrape {
    /// Writes all metrics.
    ///
    /// # Errors
    /// Where a metric cannot be written.
    pub fn of(registry: &Registry) -> Result<Self, fmt::Error> {
        let mut text = Text(GzEncoder::new(Vec::new(), Compression::fast()));
        encode(&mut text, registry)?;
        let mut compressed = text.0.finish().map_err(|_| fmt::Error)?;
        compressed.shrink_to_fit();
        Ok(Self(compressed.into()))
    }

    /// The answer: as it is for a reader that takes gzip, else unpacked piece by piece.
    pub fn respond(self, gzip: bool) -> Response {
        let encoding = [(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"))];
        let headers = [
            (
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8"),
            ),
            (header::VARY, HeaderValue::from_static("accept-encoding")),
        ];
        if gzip {
            (headers, encoding, self.0).into_response()
        } else {
            (headers, Body::from_stream(futures::stream::iter(self.chunks()))).into_response()
        }
    }

    /// The text in pieces of at most [`CHUNK`] bytes.
    fn chunks(self) -> impl Iterator<Item = std::io::Result<Bytes>> {
        let mut text = GzDecoder::new(Cursor::new(self.0));
        std::iter::from_fn(move || {
            let mut chunk = Vec::with_capacity(CHUNK);
            match text.by_ref().take(CHUNK as u64).read_to_end(&mut chunk) {
                Ok(0) => None,
                Ok(_) => Some(Ok(chunk.into())),
                Err(error) => Some(Err(error)),
            }
        })
    }
}

/// Text that is compressed as it is written.
struct Text(GzEncoder<Vec<u8>>);

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write_all(text.as_bytes()).map_err(|_| fmt::Error)
    }
}

/// Whether a reader takes gzip: the values of its Accept-Encoding headers (RFC 9110, 12.5.3).
pub(crate) fn accepts_gzip<'a>(values: impl Iterator<Item = &'a str>) -> bool {
    let mut codings = values.flat_map(|value| value.split(',')).map(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = weight.trim().trim_start_matches("q=").trim_end_matches(['0', '.']);
        let refused = coding.contains(';') && weight.is_empty();
        (name.trim().to_ascii_lowercase(), !refused)
    });
    let codings: std::collections::BTreeMap<_, _> = codings.by_ref().collect();
    let of = |name: &str| codings.get(name).copied();
    of("gzip").or_else(|| of("*")).unwrap_or(false)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // tests
mod tests {
    use prometheus_client::metrics::family::Family;
    use prometheus_client::metrics::gauge::Gauge;

    use super::*;

    /// As many series as some thousand volumes have.
    fn registry() -> Registry {
        let mut registry = Registry::default();
        let used = Family::<Vec<(&'static str, String)>, Gauge>::default();
        for i in 0..20_000 {
            let labels = vec![
                ("namespace", format!("team-{}", i % 20)),
                ("cluster", format!("orders-{}", i / 6)),
                ("pvc", format!("orders-{}-{}-wal", i / 6, i % 6)),
            ];
            used.get_or_create(&labels).set(i * 104_729 % 1_000_003);
        }
        registry.register("cnpg_storage_manager_pvc_usage_bytes", "Bytes used", used);
        registry
    }

    #[test]
    fn the_text_is_whole_and_never_in_memory_as_a_whole() {
        let registry = registry();
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        let scrape = Scrape::of(&registry).unwrap();
        assert!(scrape.0.len() * 5 < text.len(), "{} of {}", scrape.0.len(), text.len());
        let chunks: Vec<Bytes> = scrape.chunks().map(Result::unwrap).collect();
        assert!(chunks.iter().all(|chunk| chunk.len() <= CHUNK));
        assert!(chunks.len() > 10);
        assert!(chunks.concat() == text.as_bytes());
    }

    #[test]
    fn gzip_is_sent_to_those_who_take_it() {
        for (values, takes) in [
            (&[][..], false),
            (&["gzip"], true),
            (&["deflate, gzip;q=0.8"], true),
            (&["deflate", "GZIP"], true),
            (&["*"], true),
            (&["identity"], false),
            (&["gzip;q=0"], false),
            (&["gzip; q=0.000, *"], false),
            (&["br;q=1.0, *;q=0.5"], true),
        ] {
            assert_eq!(accepts_gzip(values.iter().copied()), takes, "{values:?}");
        }
    }
}
