//! What Lambda says of a stack's functions.

use std::{collections::HashMap, time::Duration};

use aws_sdk_lambda::{Client, types::FunctionUrlAuthType};
use futures::future::join_all;
use surehook::{
    aws,
    config::{
        SECRETS, Variables,
        vault::{Reference, Vault},
    },
    web::EndpointUrl,
};

use crate::doctor::facts::{Deployed, FUNCTIONS, Function, Learned, Unknown};

/// How the template names a function.
pub(super) fn name(stack: &str, function: &str) -> String {
    format!("{stack}-{function}")
}

pub(super) async fn functions(stack: &str) -> Vec<Function> {
    let client = Client::new(&aws::settings().await);
    join_all(FUNCTIONS.map(|function| read(&client, stack, function))).await
}

async fn read(client: &Client, stack: &str, function: &'static str) -> Function {
    let name = name(stack, function);
    match configuration(client, &name).await {
        Ok((told, variables)) => {
            let bare_secrets = SECRETS.into_iter().filter(|secret| is_bare(&variables, secret)).collect();
            let timeout = Duration::from_secs(u64::try_from(told).unwrap_or_default());
            let deployed = Deployed { timeout, url: url(client, &name).await, bare_secrets };
            let look_up = move |name: &str| variables.get(name).filter(|value| !value.is_empty()).cloned();
            let variables = Variables::resolved(look_up, Vault::connect).await;
            Function { name: function, variables, deployed: Some(Ok(deployed)) }
        }
        Err(why) => Function { name: function, variables: Variables::plain(|_| None), deployed: Some(Err(why)) },
    }
}

/// A secret that stands in the configuration as it is.
fn is_bare(variables: &HashMap<String, String>, secret: &str) -> bool {
    let value = variables.get(secret).map(String::as_str).unwrap_or_default();
    !matches!(value, "" | "{}") && Reference::parse(value).is_none()
}

async fn configuration(client: &Client, name: &str) -> Learned<(i32, HashMap<String, String>)> {
    let answer = client.get_function_configuration().function_name(name).send().await;
    let told = answer.map_err(|error| Unknown::of_aws(&error))?;
    let variables = told.environment().and_then(|environment| environment.variables()).cloned();
    Ok((told.timeout().unwrap_or_default(), variables.unwrap_or_default()))
}

async fn url(client: &Client, name: &str) -> Learned<Option<(EndpointUrl, bool)>> {
    match client.get_function_url_config().function_name(name).send().await {
        Ok(told) => {
            let url = EndpointUrl::parse(told.function_url())
                .map_err(|error| Unknown::Unanswered(format!("its URL: {error}")))?;
            Ok(Some((url, *told.auth_type() == FunctionUrlAuthType::None)))
        }
        Err(error) if error.as_service_error().is_some_and(|e| e.is_resource_not_found_exception()) => Ok(None),
        Err(error) => Err(Unknown::of_aws(&error)),
    }
}
