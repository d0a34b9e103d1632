//! The users that QStash's documentation publishes for local development. They are public, so they protect nothing: a function
//! on Lambda refuses to start with their keys.

use surehook::qstash::Region;

/// A user: a token, and the pair of keys that sign what is delivered for it.
#[derive(Debug, Clone, Copy)]
pub struct User {
    /// The name inside the token.
    pub name: &'static str,
    /// `QSTASH_TOKEN`.
    pub token: &'static str,
    /// Token that may read everything and change nothing. QStash publishes none for local development, so these are made up.
    pub readonly_token: &'static str,
    /// `QSTASH_CURRENT_SIGNING_KEY`.
    pub current_key: &'static str,
    /// `QSTASH_NEXT_SIGNING_KEY`.
    pub next_key: &'static str,
}

/// The four users. Each has messages, topics, keys and a dead-letter queue of its own.
pub const USERS: [User; 4] = [
    User {
        name: "defaultUser",
        token: "eyJVc2VySUQiOiJkZWZhdWx0VXNlciIsIlBhc3N3b3JkIjoiZGVmYXVsdFBhc3N3b3JkIn0=",
        readonly_token: "readonly-defaultUser",
        current_key: "sig_7kYjw48mhY7kAjqNGcy6cr29RJ6r",
        next_key: "sig_5ZB6DVzB1wjE8S6rZ7eenA8Pdnhs",
    },
    User {
        name: "testUser1",
        token: "eyJVc2VySUQiOiJ0ZXN0VXNlcjEiLCJQYXNzd29yZCI6InRlc3RQYXNzd29yZCJ9",
        readonly_token: "readonly-testUser1",
        current_key: "sig_7GVPjvuwsfqF65iC8fSrs1dfYruM",
        next_key: "sig_5NoELc3EFnZn4DVS5bDs2Nk4b7Ua",
    },
    User {
        name: "testUser2",
        token: "eyJVc2VySUQiOiJ0ZXN0VXNlcjIiLCJQYXNzd29yZCI6InRlc3RQYXNzd29yZCJ9",
        readonly_token: "readonly-testUser2",
        current_key: "sig_6jWGaWRxHsw4vMSPJprXadyvrybF",
        next_key: "sig_7qHbvhmahe5GwfePDiS5Lg3pi6Qx",
    },
    User {
        name: "testUser3",
        token: "eyJVc2VySUQiOiJ0ZXN0VXNlcjMiLCJQYXNzd29yZCI6InRlc3RQYXNzd29yZCJ9",
        readonly_token: "readonly-testUser3",
        current_key: "sig_5T8FcSsynBjn9mMLBsXhpacRovJf",
        next_key: "sig_7GFR4YaDshFcqsxWRZpRB161jguD",
    },
];

impl User {
    /// Returns the user whose token and keys a server of this region prints. Two servers that run side by side need different keys.
    pub fn of(region: Option<Region>) -> Self {
        match region {
            None | Some(Region::EuCentral1) => USERS[0],
            Some(Region::UsEast1) => USERS[1],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn production_refuses_the_keys_of_every_user() {
        for user in USERS {
            for key in [user.current_key, user.next_key] {
                assert!(surehook::qstash::DEVELOPMENT_KEYS.contains(&key), "{}", user.name);
            }
        }
    }
}
