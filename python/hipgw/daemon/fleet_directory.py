"""Opens the place where a fleet's entries are, as the configuration has it."""

import ssl

from hipgw.config.schema import FleetConfig
from hipgw.config.secret_files import load_password
from hipgw.errors import ConfigError
from hipgw.naming.fleet.etcd_client import EtcdClient
from hipgw.naming.fleet.etcd_directory import EtcdDirectory
from hipgw.naming.fleet.toml_directory import TomlDirectory


def open_directories(config: FleetConfig) -> list[TomlDirectory | EtcdDirectory]:
    """The places where the entries are. Raises ConfigError for files that cannot be used."""
    places: list[TomlDirectory | EtcdDirectory] = []
    if config.etcd:
        places.append(EtcdDirectory(open_etcd(config), config.etcd_prefix))
    if config.file is not None:
        places.append(TomlDirectory(config.file))
    return places


def open_etcd(config: FleetConfig) -> EtcdClient:
    """The etcd cluster of a configuration. Raises ConfigError for files that cannot be used."""
    tls = None
    if any(url.startswith("https:") for url in config.etcd):
        try:
            tls = ssl.create_default_context(cafile=config.etcd_ca)
            if config.etcd_certificate is not None:
                tls.load_cert_chain(config.etcd_certificate, config.etcd_key)
        except OSError as error:
            raise ConfigError(f"fleet: the certificates for etcd cannot be used: {error}") from None
    password = load_password(config.etcd_password) if config.etcd_password is not None else ""
    return EtcdClient(config.etcd, tls=tls, user=config.etcd_user or "", password=password)
