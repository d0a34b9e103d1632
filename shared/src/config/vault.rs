//! Where secrets are kept: SSM Parameter Store and Secrets Manager.
//!
//! A variable names a secret as `ssm:/name` or `secretsmanager:name`. The secret itself is never in a template, in a function's
//! environment, or in an error.

use std::collections::HashMap;

use futures::future::join_all;

use crate::aws;

/// The most names of one `GetParameters`. Source: AWS, "`GetParameters`".
const MOST_NAMES: usize = 10;

/// Names a secret.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Reference {
    /// A parameter of SSM, decrypted.
    Parameter(String),
    /// A secret of Secrets Manager, by name or ARN.
    Secret(String),
}

impl Reference {
    /// Reads a variable's value; `None` where it is the secret itself.
    pub fn parse(value: &str) -> Option<Self> {
        let value = value.trim();
        let parameter = value.strip_prefix("ssm:").map(|name| Self::Parameter(name.to_owned()));
        parameter.or_else(|| value.strip_prefix("secretsmanager:").map(|name| Self::Secret(name.to_owned())))
    }
}

impl std::fmt::Display for Reference {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Parameter(name) => write!(formatter, "ssm:{name}"),
            Self::Secret(name) => write!(formatter, "secretsmanager:{name}"),
        }
    }
}

/// Why a secret can't be had.
#[derive(Debug, Clone, thiserror::Error)]
pub enum VaultError {
    /// There is none of that name.
    #[error("there is no parameter of that name in this region: `aws ssm put-parameter --type SecureString --name …`")]
    NoParameter,
    /// There is none of that name.
    #[error("there is no secret of that name in this region: `aws secretsmanager create-secret --name …`")]
    NoSecret,
    /// There is one, but its value is not text.
    #[error("it has no text value")]
    NotText,
    /// It could not be asked for.
    #[error("it can't be read: {0}")]
    Away(String),
}

/// Values, or why not, by reference.
pub type Fetched = HashMap<Reference, Result<String, VaultError>>;

/// Both stores.
#[derive(Debug, Clone)]
pub struct Vault {
    parameters: aws_sdk_ssm::Client,
    secrets: aws_sdk_secretsmanager::Client,
}

impl Vault {
    /// Connects as the environment says.
    pub async fn connect() -> Self {
        let settings = aws::settings()
            .await
            .into_builder()
            .retry_config(aws::patient_retries())
            .timeout_config(aws::patient_time_outs())
            .build();
        Self {
            parameters: aws_sdk_ssm::Client::new(&settings),
            secrets: aws_sdk_secretsmanager::Client::new(&settings),
        }
    }

    /// Fetches secrets, all at once: this is a part of every cold start.
    pub async fn fetch(&self, references: &[Reference]) -> Fetched {
        let (mut parameters, mut secrets) = (Vec::new(), Vec::new());
        for reference in references {
            match reference {
                Reference::Parameter(name) if !parameters.contains(name) => parameters.push(name.clone()),
                Reference::Secret(name) if !secrets.contains(name) => secrets.push(name.clone()),
                _ => {}
            }
        }
        let of_ssm = join_all(parameters.chunks(MOST_NAMES).map(|names| self.parameters(names)));
        let of_secrets_manager = join_all(secrets.iter().map(|name| self.secret(name)));
        let (of_ssm, of_secrets_manager) = tokio::join!(of_ssm, of_secrets_manager);
        of_ssm.into_iter().flatten().chain(of_secrets_manager).collect()
    }

    async fn parameters(&self, names: &[String]) -> Fetched {
        let asked = self.parameters.get_parameters().set_names(Some(names.to_vec())).with_decryption(true);
        let found = asked.send().await.map_err(|error| VaultError::Away(aws::explained(&error)));
        let value = |name: &String| {
            let mut parameters = found.as_ref().map_err(VaultError::clone)?.parameters().iter();
            // One that was asked for by its ARN is named in full there.
            let parameter = parameters.find(|found| found.name() == Some(name) || found.arn() == Some(name));
            parameter.ok_or(VaultError::NoParameter)?.value().map(str::to_owned).ok_or(VaultError::NotText)
        };
        names.iter().map(|name| (Reference::Parameter(name.clone()), value(name))).collect()
    }

    async fn secret(&self, name: &str) -> (Reference, Result<String, VaultError>) {
        let answer = self.secrets.get_secret_value().secret_id(name).send().await;
        let value = match answer {
            Ok(secret) => secret.secret_string().map(str::to_owned).ok_or(VaultError::NotText),
            Err(error) if error.as_service_error().is_some_and(|e| e.is_resource_not_found_exception()) => {
                Err(VaultError::NoSecret)
            }
            Err(error) => Err(VaultError::Away(aws::explained(&error))),
        };
        (Reference::Secret(name.to_owned()), value)
    }
}
