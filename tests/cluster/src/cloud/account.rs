//! The load balancers of the cloud's account: who made them, what cannot be changed about them, and what listens.
//!
//! Pure: the controller tells it what Services want, and makes the listeners that it names.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
};

use super::annotations::Family;
use crate::{init::outside::Protocol, programs::hex};

/// What one Service wants of its load balancer.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// The Service.
    pub(crate) service: String,
    pub(crate) family: Family,
    /// The id of a load balancer that somebody else made.
    pub(crate) id: Option<String>,
    /// Whether listeners of such a load balancer are the Service's to make.
    pub(crate) force_override_listeners: bool,
    /// The settings of [`fixed`] that the Service names.
    pub(crate) fixed: BTreeMap<&'static str, String>,
    /// The ports, each with where its traffic goes.
    pub(crate) listeners: Vec<(Protocol, u16, SocketAddr)>,
}

/// The settings that cannot be changed once a load balancer is there, and what they are when nobody names them.
pub(crate) fn fixed(family: Family) -> &'static [(&'static str, &'static str)] {
    match family {
        Family::Clb => &[
            ("address-type", "internet"),
            ("ip", ""),
            ("network-type", ""),
            ("resource-group-id", ""),
            ("master-zoneid", ""),
            ("slave-zoneid", ""),
            ("ip-version", "ipv4"),
        ],
        Family::Nlb => &[("ip-version", "ipv4"), ("resource-group-id", "")],
    }
}

/// A load balancer's address and id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ensured {
    pub(crate) id: String,
    pub(crate) address: Ipv4Addr,
}

#[derive(Debug)]
struct LoadBalancer {
    address: Ipv4Addr,
    /// The Service that CCM made it for; `None` when somebody else made it.
    made_for: Option<String>,
    fixed: BTreeMap<&'static str, String>,
    /// Each listener with the Service that it belongs to.
    listeners: BTreeMap<(Protocol, u16), (String, SocketAddr)>,
}

/// Every listener of the account: where it listens and where its traffic goes.
pub(crate) type Listeners = BTreeMap<(Ipv4Addr, Protocol, u16), SocketAddr>;

/// The account.
#[derive(Debug)]
pub(crate) struct Account {
    block: [u8; 2],
    made: u32,
    load_balancers: BTreeMap<String, LoadBalancer>,
    /// The load balancer of each Service.
    of_service: BTreeMap<String, String>,
}

/// The first address of a block that is given to a load balancer.
const FIRST: u32 = 100;
/// How many there are.
const ADDRESSES: u32 = 0x1_0000 - FIRST - 1;

impl Account {
    /// An empty account with its own block of addresses.
    pub(crate) fn new(block: [u8; 2]) -> Self {
        Self { block, made: 0, load_balancers: BTreeMap::new(), of_service: BTreeMap::new() }
    }

    /// Gives the Service its load balancer and the listeners that it wants.
    ///
    /// # Errors
    /// The words of CCM or the OpenAPI when this cannot be done.
    pub(crate) fn ensure(&mut self, request: &Request) -> Result<Ensured, String> {
        let id = match (self.of_service.get(&request.service).cloned(), &request.id) {
            (Some(has), Some(wants)) if has != *wants => {
                return Err(format!(
                    "alicloud: can not change the load balancer of a Service: it has been associated with {has}, \
                     and {wants} is wanted; delete the Service and create it again"
                ));
            }
            (Some(has), _) => has,
            (None, Some(wants)) => self.reuse(wants, request)?,
            (None, None) => self.create(request)?,
        };
        let Some(load_balancer) = self.load_balancers.get_mut(&id) else {
            return Err(format!("InvalidLoadBalancerId.NotFound: load balancer {id} does not exist"));
        };
        for (setting, default) in fixed(request.family) {
            let wants = request.fixed.get(setting).map_or(*default, String::as_str);
            let has = load_balancer.fixed.get(setting).map_or(*default, String::as_str);
            // On somebody else's load balancer only what the Service names is compared.
            let compared = load_balancer.made_for.is_some() || request.fixed.contains_key(setting);
            if compared && wants != has {
                return Err(format!(
                    "alicloud: {setting} of load balancer {id} can not be changed from `{has}` to `{wants}`, delete \
                     the Service and retry"
                ));
            }
        }
        // Somebody else's listeners are theirs, unless the Service says otherwise; then it takes them silently.
        load_balancer.listeners.retain(|_, (service, _)| *service != request.service);
        if request.id.is_none() || request.force_override_listeners {
            for (protocol, port, target) in &request.listeners {
                load_balancer.listeners.insert((*protocol, *port), (request.service.clone(), *target));
            }
        }
        let address = load_balancer.address;
        self.of_service.insert(request.service.clone(), id.clone());
        Ok(Ensured { id, address })
    }

    /// Takes the Service's load balancer away: one that CCM made goes, unless it is to be preserved; somebody else's
    /// loses the Service's listeners. Returns the id of one that was preserved.
    pub(crate) fn release(&mut self, service: &str, preserve: bool) -> Option<String> {
        let id = self.of_service.remove(service)?;
        let load_balancer = self.load_balancers.get_mut(&id)?;
        load_balancer.listeners.retain(|_, (owner, _)| owner != service);
        if load_balancer.made_for.as_deref() != Some(service) {
            return None;
        }
        if preserve {
            load_balancer.made_for = None;
            return Some(id);
        }
        self.load_balancers.remove(&id);
        None
    }

    /// Whether the Service has a load balancer.
    pub(crate) fn has(&self, service: &str) -> bool {
        self.of_service.contains_key(service)
    }

    /// All listeners there are to be.
    pub(crate) fn listeners(&self) -> Listeners {
        self.load_balancers
            .values()
            .flat_map(|load_balancer| {
                load_balancer.listeners.iter().map(|((protocol, port), (_, target))| {
                    ((load_balancer.address, *protocol, *port), *target)
                })
            })
            .collect()
    }

    /// Somebody else's load balancer. The account is taken to have every one that is named.
    fn reuse(&mut self, id: &str, request: &Request) -> Result<String, String> {
        match self.load_balancers.get(id) {
            Some(LoadBalancer { made_for: Some(_), .. }) => Err(format!(
                "alicloud: the load balancer {id} can not be reused, it was created by the cloud controller manager"
            )),
            Some(_) => Ok(id.to_owned()),
            None => self.add(id.to_owned(), None, request),
        }
    }

    fn create(&mut self, request: &Request) -> Result<String, String> {
        let digest = <sha2::Sha256 as sha2::Digest>::digest(format!("{}/{}", request.service, self.made));
        let prefix = match request.family {
            Family::Clb => "lb",
            Family::Nlb => "nlb",
        };
        let id = format!("{prefix}-{}", hex(&digest[..10]));
        self.add(id, Some(request.service.clone()), request)
    }

    fn add(&mut self, id: String, made_for: Option<String>, request: &Request) -> Result<String, String> {
        let [first, second] = self.block;
        // Addresses are given in turn, so that one that was just given back is not taken for another's.
        let address = (0..ADDRESSES)
            .map(|step| (self.made + step) % ADDRESSES + FIRST)
            .map(|number| {
                let [_, _, third, fourth] = number.to_be_bytes();
                Ipv4Addr::new(first, second, third, fourth)
            })
            .find(|address| self.load_balancers.values().all(|other| other.address != *address))
            .ok_or("QuotaExceeded: all addresses are in use")?;
        self.made = (self.made + 1) % ADDRESSES;
        let load_balancer =
            LoadBalancer { address, made_for, fixed: request.fixed.clone(), listeners: BTreeMap::new() };
        self.load_balancers.insert(id.clone(), load_balancer);
        Ok(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(service: &str) -> Request {
        Request {
            service: service.into(),
            family: Family::Clb,
            id: None,
            force_override_listeners: false,
            fixed: BTreeMap::new(),
            listeners: vec![(Protocol::Tcp, 1935, "198.19.0.7:1935".parse().unwrap())],
        }
    }

    fn account() -> Account {
        Account::new([127, 64])
    }

    #[test]
    fn a_service_keeps_its_load_balancer_and_each_has_its_own() {
        let mut account = account();
        let first = account.ensure(&request("a")).unwrap();
        assert_eq!(first.address, Ipv4Addr::new(127, 64, 0, 100));
        assert!(first.id.starts_with("lb-"));
        assert_eq!(account.ensure(&request("a")).unwrap(), first);
        let second = account.ensure(&request("b")).unwrap();
        assert_ne!(second.address, first.address);
        assert_ne!(second.id, first.id);
        assert_eq!(account.listeners().len(), 2);
        assert_eq!(account.release("a", false), None);
        assert!(!account.has("a"));
        assert_eq!(account.listeners().len(), 1);
        assert_ne!(account.ensure(&request("a")).unwrap().address, first.address, "not at once again");
    }

    #[test]
    fn the_addresses_turn_round_and_skip_those_in_use() {
        let mut account = account();
        account.ensure(&request("a")).unwrap();
        account.made = ADDRESSES - 1;
        assert_eq!(account.ensure(&request("b")).unwrap().address, Ipv4Addr::new(127, 64, 255, 254));
        assert_eq!(account.ensure(&request("c")).unwrap().address, Ipv4Addr::new(127, 64, 0, 101));
    }

    #[test]
    fn what_is_fixed_cannot_be_changed_and_the_default_counts() {
        let mut account = account();
        account.ensure(&request("a")).unwrap();
        let mut same = request("a");
        same.fixed.insert("address-type", "internet".into());
        account.ensure(&same).unwrap();
        let mut other = request("a");
        other.fixed.insert("address-type", "intranet".into());
        assert!(account.ensure(&other).unwrap_err().contains("address-type"));
    }

    #[test]
    fn somebody_elses_load_balancer_is_shared_and_stays() {
        let mut account = account();
        let mut first = request("a");
        first.id = Some("lb-mine".into());
        let ensured = account.ensure(&first).unwrap();
        assert_eq!(ensured.id, "lb-mine");
        assert!(account.listeners().is_empty(), "without force-override-listeners there are none");
        first.force_override_listeners = true;
        account.ensure(&first).unwrap();
        assert_eq!(account.listeners().len(), 1);

        let mut second = Request { service: "b".into(), ..first.clone() };
        second.listeners[0].2 = "198.19.0.8:1935".parse().unwrap();
        assert_eq!(account.ensure(&second).unwrap().address, ensured.address);
        assert_eq!(
            account.listeners().into_values().next(),
            Some("198.19.0.8:1935".parse().unwrap()),
            "it was taken"
        );

        account.release("a", false);
        account.release("b", false);
        assert!(account.listeners().is_empty());
        assert_eq!(account.ensure(&first).unwrap(), ensured, "the load balancer stayed");
    }

    #[test]
    fn an_id_cannot_be_added_or_changed_or_be_of_one_that_ccm_made() {
        let mut account = account();
        let made = account.ensure(&request("a")).unwrap();
        let mut with_id = request("a");
        with_id.id = Some("lb-mine".into());
        assert!(account.ensure(&with_id).unwrap_err().contains("associated with"));
        let mut thief = request("b");
        thief.id = Some(made.id);
        assert!(account.ensure(&thief).unwrap_err().contains("can not be reused"));
        assert!(!account.has("b"));
    }

    #[test]
    fn a_preserved_load_balancer_can_be_reused() {
        let mut account = account();
        let made = account.ensure(&request("a")).unwrap();
        assert_eq!(account.release("a", true), Some(made.id.clone()));
        let mut again = request("b");
        again.id = Some(made.id.clone());
        assert_eq!(account.ensure(&again).unwrap(), made);
    }
}
