//! Clients of every region that a stack uses. What is published goes to its own region; what came from another goes back there.

use std::time::Duration;

use futures::{FutureExt, future::BoxFuture};
use url::Url;

use super::{Client, ClientError, DlqEntry, LogEntry, Pace, Region};
use crate::secret::Secret;

/// How one account of QStash is reached.
#[derive(Debug, Clone)]
pub struct Account {
    /// Its region; `None` where the stack names none.
    pub region: Option<Region>,
    /// Its host.
    pub url: Url,
    /// Its token.
    pub token: Secret,
}

/// A question about a message.
type Ask<T> = for<'a> fn(&'a Client, &'a str) -> BoxFuture<'a, Result<Option<T>, ClientError>>;

/// A client, and the region that it calls.
#[derive(Debug, Clone)]
pub struct RegionClient {
    /// The region; `None` where the stack names none.
    pub region: Option<Region>,
    /// The client.
    pub client: Client,
}

/// One client per region.
#[derive(Debug, Clone)]
pub struct Clients {
    own: RegionClient,
    others: Vec<RegionClient>,
}

impl From<Client> for Clients {
    /// Returns the only client of a stack that names no region.
    fn from(client: Client) -> Self {
        Self { own: RegionClient { region: None, client }, others: Vec::new() }
    }
}

impl Clients {
    /// Creates a client for each account; the first account is the stack's own. No call takes longer than `timeout`. Returns `None` where
    /// there is no account.
    pub fn new(accounts: Vec<Account>, timeout: Duration) -> Result<Option<Self>, reqwest::Error> {
        let client = |account: Account| {
            let client = Client::new(account.url, account.token, timeout)?;
            Ok(RegionClient { region: account.region, client })
        };
        let clients: Result<Vec<RegionClient>, reqwest::Error> = accounts.into_iter().map(client).collect();
        let mut clients = clients?.into_iter();
        Ok(clients.next().map(|own| Self { own, others: clients.collect() }))
    }

    /// Returns the client of the region to publish to.
    pub fn own(&self) -> &Client {
        &self.own.client
    }

    /// Returns every client, the own one first.
    pub fn each(&self) -> impl Iterator<Item = &RegionClient> {
        std::iter::once(&self.own).chain(&self.others)
    }

    /// Returns the client of a region, or the own one where that region is unknown or is not configured.
    pub fn of(&self, region: Option<Region>) -> &Client {
        self.each().find(|client| client.region == region).map_or(&self.own.client, |known| &known.client)
    }

    /// Returns the clients of the regions that may hold what came from `region`. That is the region itself. What was written before
    /// regions had names may be in each. A stack that names no region has one account.
    pub fn holding(&self, region: Option<Region>) -> impl Iterator<Item = &RegionClient> {
        let names_regions = self.own.region.is_some();
        self.each().filter(move |client| !names_regions || region.is_none() || client.region == region)
    }

    /// Returns clients whose calls wait where QStash's burst limit is hit. Each region has a limit of its own.
    pub fn paced(&self, most: usize) -> Self {
        let paced = |client: &RegionClient| {
            let pace = Pace::new(most).into();
            RegionClient { region: client.region, client: client.client.paced(pace) }
        };
        Self { own: paced(&self.own), others: self.others.iter().map(paced).collect() }
    }

    /// Finds a message that waits or is being delivered in any region.
    pub async fn message(&self, id: &str) -> Result<Option<DlqEntry>, ClientError> {
        self.find(id, |client, id| client.message(id).boxed()).await
    }

    /// Finds the entry of a dead-letter queue that a message became in any region.
    pub async fn dlq_find(&self, message: &str) -> Result<Option<DlqEntry>, ClientError> {
        self.find(message, |client, message| client.dlq_find(message).boxed()).await
    }

    /// Returns what the log of the message's region says of it, the oldest first; nothing where no region has it or answers.
    pub async fn logs(&self, message: &str) -> Vec<LogEntry> {
        let ask: Ask<Vec<LogEntry>> = |client, message| {
            async move { Ok(Some(client.logs(message).await?).filter(|logs| !logs.is_empty())) }.boxed()
        };
        self.find(message, ask).await.ok().flatten().unwrap_or_default()
    }

    /// Asks one region after the other. A region that does not answer may be the one that has it.
    async fn find<T>(&self, message: &str, ask: Ask<T>) -> Result<Option<T>, ClientError> {
        let mut failed = None;
        for region in self.each() {
            match ask(&region.client, message).await {
                Ok(None) => {}
                Ok(found) => return Ok(found),
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(None), Err)
    }
}

impl RegionClient {
    /// Returns what follows on QStash in a message: nothing where the stack names no region.
    pub fn suffix(&self) -> String {
        self.region.map(|region| format!(" in {region}")).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clients(regions: &[Option<Region>]) -> Clients {
        let account = |region: &Option<Region>| Account {
            region: *region,
            url: Url::parse("https://qstash.example").unwrap(),
            token: Secret::new("t").unwrap(),
        };
        let accounts = regions.iter().map(account).collect();
        Clients::new(accounts, Duration::from_secs(1)).unwrap().unwrap()
    }

    fn holding(clients: &Clients, region: Option<Region>) -> Vec<Option<Region>> {
        clients.holding(region).map(|client| client.region).collect()
    }

    #[test]
    fn what_came_from_a_region_is_there_and_what_is_older_may_be_in_each() {
        let (eu, us) = (Some(Region::EuCentral1), Some(Region::UsEast1));
        let both = clients(&[us, eu]);
        assert_eq!(holding(&both, eu), [eu]);
        assert_eq!(holding(&both, us), [us]);
        assert_eq!(holding(&both, None), [us, eu], "the own region first");
        assert_eq!(holding(&clients(&[us]), eu), [], "the region is not configured any more");
        assert_eq!(holding(&clients(&[None]), eu), [None], "the one account may be any region");
    }

    #[test]
    fn there_is_no_client_without_an_account() {
        assert!(Clients::new(Vec::new(), Duration::from_secs(1)).unwrap().is_none());
    }
}
