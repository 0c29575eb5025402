"""The settings of a running server: what new calls use, and changing it during calls. Implements `reloading.Reloadable`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field

from msgspec.structs import replace

from active_call.call.dependencies import CallDependencies
from active_call.call.opening.registry import CallRegistry
from active_call.call.opening.routing import Playbooks, Router
from active_call.legs.sip.gateway import SipGateway
from active_call.legs.sip.registrations import Registrations
from active_call.legs.trunks.watch import TrunkWatch
from active_call.net.sip_driver import SipDriver
from active_call.providers.registry import Engines
from active_call.server.config.config import Config, key_variables
from active_call.server.http.settings import HttpSettings
from active_call.server.setup.trunks import accounts, admission_policy, dial_plan, outbound_policy


@dataclass(slots=True)
class LiveSettings:
    """See the module. `environment` is the mapping that playbooks and providers read; it is changed in place."""

    config: Config
    registry: CallRegistry
    gateway: SipGateway
    registrations: Registrations
    watch: TrunkWatch
    driver: SipDriver
    playbooks: Playbooks
    environment: MutableMapping[str, str]
    engines: Engines
    make_services: Callable[[Config], CallDependencies]
    make_router: Callable[[Config], Router | None]
    warm: Callable[[Config], Awaitable[None]]
    http: HttpSettings
    services: CallDependencies = field(init=False)
    """The services of new calls."""

    def __post_init__(self) -> None:
        self.services = self.make_services(self.config)

    async def prepare(self, config: Config, environment: Mapping[str, str]) -> None:
        """Read the playbooks that `config` names and create their engines; after a mistake nothing changes. Raises ActiveCallError."""
        before, variables = self.config, dict(self.environment)
        self._take(config, environment)
        try:
            await self.warm(config)
        except BaseException:
            self._take(before, variables)
            raise

    def reconfigure(self, config: Config) -> None:
        """Use `config` from the next call on."""
        self.config = config
        self.services = self.make_services(config)
        self.registry.reconfigure(self.services, self.make_router(config), config.admission.max_calls)
        plan = dial_plan(config)
        self.gateway.settings = replace(self.gateway.settings, dial_plan=plan, outbound=outbound_policy(config))
        self.gateway.endpoint.admission.use_policy(admission_policy(config))
        self.watch.update(list(plan.trunks))
        self.registrations.update(accounts(config))
        self.driver.reload_certificate()
        self.http.reconfigure(config)

    def _take(self, config: Config, environment: Mapping[str, str]) -> None:
        self.config = config  # decides where playbooks are searched
        self.environment.clear()
        self.environment.update(environment)
        self.engines.use_key_sets(key_variables(config))
        self.playbooks.forget()
