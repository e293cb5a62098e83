//! Bodies of answers, and watches that can be cut and silenced.

use std::sync::Arc;

use futures::stream::unfold;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Bytes;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Link;

pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
pub type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>;

/// A body of one text.
pub fn full(text: String) -> Body {
    Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync()
}

/// The answer of a watch: ends when it is cut, as the API server ends one, and is silent while the link hangs. It keeps
/// `answer` for as long as it goes on.
pub fn watched(body: Body, cut: CancellationToken, link: watch::Receiver<Link>, answer: Arc<()>) -> Body {
    let frames = unfold((body, cut, link, answer), |(mut body, cut, mut link, answer)| async move {
        let next = async {
            let frame = body.frame().await;
            // A proxy that is gone lets everything pass.
            let _ = link.wait_for(|link| *link != Link::Hang).await;
            frame
        };
        let frame = tokio::select! { biased; () = cut.cancelled() => None, frame = next => frame };
        frame.map(|frame| (frame, (body, cut, link, answer)))
    });
    StreamBody::new(frames).boxed_unsync()
}
