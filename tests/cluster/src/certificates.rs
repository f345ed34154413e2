//! The cluster's certificate authority, and the kubeconfigs that its certificates go into.
//!
//! In Kubernetes a client certificate is a user: the common name is the user's name, the organisations are the groups.

use std::{
    fs,
    io::Write,
    net::{IpAddr, SocketAddr},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use k8s_openapi::ByteString;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

use crate::error::{Result, at};

/// The group whose members may do everything.
pub(crate) const ADMINISTRATORS: &str = "system:masters";

/// A certificate authority.
pub(crate) struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, as PEM.
pub(crate) struct Identity {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    /// Makes a new authority and writes it as `ca.crt` and `ca.key`.
    pub(crate) fn create(pki: &Path) -> Result<Self> {
        let key = KeyPair::generate()?;
        let certificate = parameters()?.self_signed(&key)?.pem();
        write_private(&pki.join("ca.crt"), &certificate)?;
        write_private(&pki.join("ca.key"), &key.serialize_pem())?;
        Ok(Self { certificate, issuer: Issuer::new(parameters()?, key) })
    }

    /// Reads the authority that [`Authority::create`] wrote.
    pub(crate) fn read(pki: &Path) -> Result<Self> {
        let read = |name: &str| fs::read_to_string(pki.join(name)).map_err(at("read", pki.join(name)));
        let key = KeyPair::from_pem(&read("ca.key")?)?;
        Ok(Self { certificate: read("ca.crt")?, issuer: Issuer::new(parameters()?, key) })
    }

    /// Issues a certificate for client and server use.
    pub(crate) fn issue(&self, name: &str, groups: &[&str], hosts: &[String]) -> Result<Identity> {
        self.sign(CertificateParams::new(hosts)?, name, groups)
    }

    /// Issues a client certificate that ran out long ago.
    pub(crate) fn issue_expired(&self, name: &str) -> Result<Identity> {
        let mut parameters = CertificateParams::default();
        parameters.not_before = date_time_ymd(2020, 1, 1);
        parameters.not_after = date_time_ymd(2021, 1, 1);
        self.sign(parameters, name, &[])
    }

    fn sign(&self, mut parameters: CertificateParams, name: &str, groups: &[&str]) -> Result<Identity> {
        let key = KeyPair::generate()?;
        parameters.distinguished_name.remove(DnType::CommonName);
        parameters.distinguished_name.push(DnType::CommonName, name);
        // rcgen keeps one value per type, so a user has at most one group of these.
        if let Some(group) = groups.first() {
            parameters.distinguished_name.push(DnType::OrganizationName, *group);
        }
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = parameters.signed_by(&key, &self.issuer)?.pem();
        Ok(Identity { certificate, key: key.serialize_pem() })
    }

    /// A kubeconfig that holds all it needs: the server, the authority, and the user's certificate and key.
    pub(crate) fn kubeconfig(&self, context: &str, server: SocketAddr, user: &Identity) -> String {
        let data = |pem: &str| {
            // ByteString serialises as base64 in a JSON string, which is a YAML string as well.
            serde_json::to_string(&ByteString(pem.as_bytes().to_vec())).unwrap_or_default()
        };
        format!(
            "apiVersion: v1\n\
             kind: Config\n\
             clusters:\n\
             - name: {context}\n\
             \x20 cluster:\n\
             \x20   server: https://{server}\n\
             \x20   certificate-authority-data: {}\n\
             users:\n\
             - name: {context}\n\
             \x20 user:\n\
             \x20   client-certificate-data: {}\n\
             \x20   client-key-data: {}\n\
             contexts:\n\
             - name: {context}\n\
             \x20 context:\n\
             \x20   cluster: {context}\n\
             \x20   user: {context}\n\
             current-context: {context}\n",
            data(&self.certificate),
            data(&user.certificate),
            data(&user.key),
        )
    }
}

/// The authority's own certificate differs from cluster to cluster by its key only.
fn parameters() -> Result<CertificateParams> {
    let mut parameters = CertificateParams::new(Vec::<String>::new())?;
    parameters.distinguished_name.remove(DnType::CommonName);
    parameters.distinguished_name.push(DnType::CommonName, "stackctl local cluster");
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    Ok(parameters)
}

/// The names under which the API server is called.
pub(crate) fn api_server_hosts(addresses: &[IpAddr]) -> Vec<String> {
    let names = [
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ];
    names.iter().map(ToString::to_string).chain(addresses.iter().map(ToString::to_string)).collect()
}

/// Writes the identity as `NAME.crt` and `NAME.key`.
pub(crate) fn write_identity(pki: &Path, name: &str, identity: &Identity) -> Result<()> {
    write_private(&pki.join(format!("{name}.crt")), &identity.certificate)?;
    write_private(&pki.join(format!("{name}.key")), &identity.key)
}

/// A key pair for signing service accounts' tokens: `service-accounts.key` and `service-accounts.pub`.
pub(crate) fn write_service_account_keys(pki: &Path) -> Result<()> {
    let key = KeyPair::generate()?;
    write_private(&pki.join("service-accounts.key"), &key.serialize_pem())?;
    write_private(&pki.join("service-accounts.pub"), &key.public_key_pem())
}

/// Writes a file that only its owner may read.
pub(crate) fn write_private(path: &Path, content: &str) -> Result<()> {
    fs::File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(content.as_bytes()))
        .map_err(at("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_read_back_issues_for_the_same_name() {
        let dir = tempfile::tempdir().unwrap();
        let made = Authority::create(dir.path()).unwrap();
        let read = Authority::read(dir.path()).unwrap();
        assert_eq!(made.certificate, read.certificate);
        let identity = read.issue("someone", &[ADMINISTRATORS], &["127.0.0.1".into()]).unwrap();
        assert!(identity.certificate.starts_with("-----BEGIN CERTIFICATE-----"));
    }

    #[test]
    fn keys_are_for_their_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        Authority::create(dir.path()).unwrap();
        let mode = fs::metadata(dir.path().join("ca.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_kubeconfig_is_one_that_clients_read() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::create(dir.path()).unwrap();
        let user = authority.issue("someone", &[], &[]).unwrap();
        let text = authority.kubeconfig("local", "127.0.0.1:20000".parse().unwrap(), &user);
        let config = kube::config::Kubeconfig::from_yaml(&text).unwrap();
        assert_eq!(config.current_context.as_deref(), Some("local"));
        assert_eq!(
            config.clusters[0].cluster.as_ref().unwrap().server.as_deref(),
            Some("https://127.0.0.1:20000")
        );
    }
}
