//! The door: whose event is this, and does its sender prove it?
//!
//! The routes document says which source a topic belongs to, and how that source's sender proves who it is. Topics that it does not
//! name, but `TOPICS` does, take our own payload from whoever has `PRODUCER_TOKEN`. All else is refused.
//!
//! A refusal may be a loss, because many senders never ask again. So none is concluded from routes that may have been replaced: before
//! it is given, the table is asked, at most once a second.

use std::{borrow::Cow, sync::Arc, time::Duration};

use surehook::{
    routes::Routes,
    secret::Secret,
    sources::{Source, SourceSecrets, bearer},
    store::{StoreError, routes_cache::RoutesCache},
    web::{Incoming, Moment, Outcome},
};
use tokio::time::timeout;

/// Routes that are older than this refuse nobody.
const FRESH: Duration = Duration::from_secs(1);

/// What senders are judged by.
#[derive(Debug, Clone)]
pub struct Door {
    /// Sources and topics.
    pub routes: Arc<RoutesCache<()>>,
    /// The secrets of senders.
    pub secrets: SourceSecrets,
    /// The tokens of senders whose source has no secret of its own.
    pub tokens: Vec<Secret>,
    /// Topics that take our own payload, besides those of the document.
    pub topics: Vec<String>,
    /// How long the table may take to say what the routes are.
    pub patience: Duration,
}

/// A sender that was believed.
#[derive(Debug)]
pub(crate) struct Admitted {
    /// Whose event it is.
    pub(crate) source: Source,
    /// The routes that it was judged by; `None` where they can't be read, and `PRODUCER_TOKEN` was enough.
    pub(crate) routes: Option<Arc<Routes>>,
}

impl Door {
    /// Says at start which senders will have to be turned away.
    pub(crate) fn tell_missing(&self, routes: &Routes) {
        let posted = routes.topics.iter().filter_map(|topic| routes.source(&topic.source)?.secret.as_ref());
        for secret in posted.filter(|secret| self.secrets.named(secret).is_empty()) {
            tracing::error!(secret, "the routes document names a secret that SOURCE_SECRETS has not");
        }
    }

    /// Judges the sender of a request to a topic.
    pub(crate) async fn admit(&self, topic: &str, request: &Incoming, moment: Moment) -> Result<Admitted, Outcome> {
        let routes = self.read(self.routes.at_hand()).await;
        match self.judge(routes.as_deref(), topic, request, moment) {
            Ok(source) => Ok(Admitted { source: source.into_owned(), routes: routes.clone() }),
            Err(refused) => self.judge_again(routes, refused, topic, request, moment).await,
        }
    }

    async fn judge_again(
        &self,
        known: Option<Arc<Routes>>,
        refused: Outcome,
        topic: &str,
        request: &Incoming,
        moment: Moment,
    ) -> Result<Admitted, Outcome> {
        let newer = self.read(self.routes.within(FRESH)).await;
        let is_newer = |newer: &Arc<Routes>| known.as_ref().is_none_or(|known| known.version != newer.version);
        let Some(newer) = newer.filter(is_newer) else { return Err(refused) };
        let source = self.judge(Some(&newer), topic, request, moment)?.into_owned();
        Ok(Admitted { source, routes: Some(newer) })
    }

    async fn read(&self, reading: impl Future<Output = Result<Arc<Routes>, StoreError>>) -> Option<Arc<Routes>> {
        match timeout(self.patience, reading).await {
            Ok(Ok(routes)) => Some(routes),
            Ok(Err(error)) => {
                tracing::error!(error = %error, "the routes can't be read");
                None
            }
            Err(_elapsed) => {
                tracing::error!("the routes can't be read in time");
                None
            }
        }
    }

    fn judge<'r>(
        &self,
        routes: Option<&'r Routes>,
        topic: &str,
        request: &Incoming,
        moment: Moment,
    ) -> Result<Cow<'r, Source>, Outcome> {
        match routes.and_then(|routes| routes.of_topic(topic)) {
            Some(source) => self.judge_sender(&source, request, moment).map(|()| source),
            None => self.judge_own(routes.is_some(), topic, request).map(Cow::Owned),
        }
    }

    fn judge_sender(&self, source: &Source, request: &Incoming, moment: Moment) -> Result<(), Outcome> {
        let secrets = match &source.secret {
            Some(name) => self.secrets.named(name),
            None => self.tokens.as_slice(),
        };
        if secrets.is_empty() {
            tracing::error!(source = source.name, "SOURCE_SECRETS has not the secret of this source");
            return Err(Outcome::SecretMissing(source.name.clone()));
        }
        let judged = source.admit(secrets, &request.headers, &request.body);
        judged.and_then(|stamp| source.judge(stamp, moment.now, Duration::ZERO)).map_err(Outcome::Unauthorized)
    }

    /// A topic that the document does not name. Where the document can't be read, its senders must come again.
    fn judge_own(&self, is_read: bool, topic: &str, request: &Incoming) -> Result<Source, Outcome> {
        let is_ours = bearer(&self.tokens, &request.headers);
        let payload = Source::built_in("payload").filter(|_| self.topics.iter().any(|known| known == topic));
        match (is_ours, payload) {
            (Ok(()), Some(payload)) => Ok(payload),
            _ if !is_read => Err(Outcome::StoreAway),
            (Ok(()), None) => Err(Outcome::UnknownTopic(topic.to_owned())),
            (Err(refusal), _) => Err(Outcome::Unauthorized(refusal)),
        }
    }
}
