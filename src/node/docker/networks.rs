//! Networks: one small bridge for each server, with addresses that we name.

use std::collections::HashMap;
use std::time::Duration;

use bollard::models::{EndpointIpamConfig, EndpointSettings, Ipam, IpamConfig, NetworkConnectRequest, NetworkCreateRequest};
use bollard::query_parameters::ListNetworksOptions;

use super::{DockerError, Engine};

/// Waits for a network's last container to let go.
const ENDPOINT_WAITS_MS: [u64; 5] = [50, 100, 200, 400, 800];

/// What Docker says of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkFacts {
    /// Its range, such as `10.83.0.8/29`.
    pub subnet: String,
    /// Labels.
    pub labels: HashMap<String, String>,
}

impl Engine {
    /// Makes a bridge with this range; the gateway is the host.
    pub async fn create_network(
        &self,
        name: &str,
        subnet: &str,
        gateway: &str,
        labels: HashMap<String, String>,
    ) -> Result<(), DockerError> {
        let range = IpamConfig { subnet: Some(subnet.to_owned()), gateway: Some(gateway.to_owned()), ..IpamConfig::default() };
        let request = NetworkCreateRequest {
            name: name.to_owned(),
            driver: Some("bridge".to_owned()),
            enable_ipv6: Some(false),
            ipam: Some(Ipam { config: Some(vec![range]), ..Ipam::default() }),
            labels: Some(labels),
            ..NetworkCreateRequest::default()
        };
        self.docker().await?.create_network(request).await.map_err(|error| self.told(error))?;
        Ok(())
    }

    /// Looks at a network; none: it does not exist.
    pub async fn network(&self, name: &str) -> Result<Option<NetworkFacts>, DockerError> {
        match self.docker().await?.inspect_network(name, None).await.map_err(|error| self.told(error)) {
            Err(DockerError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
            Ok(said) => {
                let first = said.ipam.and_then(|ipam| ipam.config).and_then(|all| all.into_iter().next());
                let subnet = first.and_then(|range| range.subnet).unwrap_or_default();
                Ok(Some(NetworkFacts { subnet, labels: said.labels.unwrap_or_default() }))
            }
        }
    }

    /// Connects a container to a network, with this address.
    pub async fn connect(&self, network: &str, container: &str, address: &str) -> Result<(), DockerError> {
        let ipam = EndpointIpamConfig { ipv4_address: Some(address.to_owned()), ..EndpointIpamConfig::default() };
        let request = NetworkConnectRequest {
            container: container.to_owned(),
            endpoint_config: Some(EndpointSettings { ipam_config: Some(ipam), ..EndpointSettings::default() }),
        };
        self.docker().await?.connect_network(network, request).await.map_err(|error| self.told(error))
    }

    /// Removes a network that nobody uses.
    pub async fn remove_network(&self, name: &str) -> Result<(), DockerError> {
        for wait_ms in ENDPOINT_WAITS_MS {
            match self.docker().await?.remove_network(name).await.map_err(|error| self.told(error)) {
                Err(DockerError::NotFound(_)) | Ok(()) => return Ok(()),
                // A container that has just gone may hold on to it a moment longer.
                Err(error) if error.words().contains("active endpoints") => {
                    tokio::time::sleep(Duration::from_millis(wait_ms)).await;
                }
                Err(error) => return Err(error),
            }
        }
        self.docker().await?.remove_network(name).await.map_err(|error| self.told(error))
    }

    /// Names and labels of all networks with this label.
    pub async fn networks(&self, label: &str) -> Result<Vec<(String, HashMap<String, String>)>, DockerError> {
        let filters = HashMap::from([("label".to_owned(), vec![label.to_owned()])]);
        let options = ListNetworksOptions { filters: Some(filters) };
        let said = self.docker().await?.list_networks(Some(options)).await.map_err(|error| self.told(error))?;
        Ok(said.into_iter().map(|net| (net.name.unwrap_or_default(), net.labels.unwrap_or_default())).collect())
    }
}
