"""Entries are stored in the first place that applies, reached as its owner reaches it."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery
from redis.sentinel import Sentinel

from celery_ranch import ConfigurationError, Ranch, RanchWarning, configure
from celery_ranch.config import Settings
from celery_ranch.engines.memory import MemoryEngine
from celery_ranch.engines.opening import RedisStorage, Store, StoreOffer, choose_store, open_engine
from celery_ranch.engines.redis import RedisEngine
from celery_ranch.engines.sentinel_store import SentinelStore
from celery_ranch.offers import backend_offer, broker_offer

NONE = StoreOffer(None)
BROKER = StoreOffer("redis://broker:6379/0")
BACKEND = StoreOffer("redis://backend:6379/1", key_prefix="results:")
APP = StoreOffer("redis://broker:6379/0", key_prefix="app:")
TLS_BROKER = StoreOffer(
    "rediss://broker:6379/0", {"ssl_ca_certs": "/ca.pem", "ssl_cert_reqs": "CERT_NONE"}
)
CLIENT = redis.Redis(host="given")


@pytest.mark.parametrize(
    "settings, broker, backend, storage, place",
    [
        (Settings(url="redis://url"), BROKER, BACKEND, RedisStorage(CLIENT), CLIENT),
        (Settings(url="redis://url"), BROKER, BACKEND, CLIENT, CLIENT),
        (Settings(url="redis://url"), BROKER, BACKEND, "redis://given", "redis://given"),
        (Settings(url="redis://url"), BROKER, BACKEND, None, "redis://url"),
        (Settings(), BROKER, BACKEND, None, "redis://broker:6379/0"),
        (Settings(), NONE, BACKEND, None, "redis://backend:6379/1"),
        (Settings(), NONE, NONE, None, None),
        (Settings(url="memory://"), BROKER, NONE, None, None),
        (Settings(url="embedded:///a"), BROKER, NONE, None, "embedded:///a"),
        (Settings(url="unix:///a.sock?db=2"), BROKER, NONE, None, "unix:///a.sock?db=2"),
    ],
)
def test_the_first_place_that_applies_is_taken(
    settings: Settings, broker: StoreOffer, backend: StoreOffer, storage: Any, place: Any
) -> None:
    assert choose_store(settings, broker, backend, storage).place == place


def test_a_storage_s_prefix_is_the_whole_prefix() -> None:
    assert choose_store(Settings(), APP, NONE, RedisStorage(CLIENT, "mine:")).prefix == "mine:"


@pytest.mark.parametrize(
    "settings, broker, backend, prefix",
    [
        (Settings(), BROKER, NONE, "celery_ranch:"),
        (Settings(redis_prefix="fair:"), BROKER, NONE, "fair:"),
        (Settings(), APP, NONE, "app:celery_ranch:"),
        (
            Settings(url="redis://u"),
            StoreOffer("redis://b", key_prefix="app:"),
            NONE,
            "app:celery_ranch:",
        ),
        (Settings(), NONE, BACKEND, "results:celery_ranch:"),
    ],
)
def test_apps_that_celery_keeps_apart_by_prefix_stay_apart(
    settings: Settings, broker: StoreOffer, backend: StoreOffer, prefix: str
) -> None:
    assert choose_store(settings, broker, backend).prefix == prefix


@pytest.mark.parametrize(
    "settings, broker, place, options",
    [
        (Settings(redis_use_ssl=True), BROKER, "rediss://broker:6379/0", "required"),
        (Settings(redis_use_ssl=True), TLS_BROKER, "rediss://broker:6379/0", "required + ca"),
        (Settings(), TLS_BROKER, "rediss://broker:6379/0", "none + ca"),
        (Settings(url="rediss://url"), TLS_BROKER, "rediss://url", "none + ca"),
        (Settings(url="rediss://url"), BROKER, "rediss://url", ""),
        (Settings(url="redis://url"), TLS_BROKER, "redis://url", ""),
        (Settings(redis_use_ssl={"ssl_ca_certs": "/b"}), TLS_BROKER, "rediss://broker:6379/0", "b"),
        (Settings(), StoreOffer("rediss://b?ssl_cert_reqs=CERT_NONE"), "rediss://b", "none"),
        (Settings(), StoreOffer("redis://b", True), "rediss://b", ""),
        (Settings(), StoreOffer("redis+socket:///s", True), "redis+socket:///s", ""),
    ],
)
def test_tls_is_as_the_setting_says_or_else_as_the_broker_has_it(
    settings: Settings, broker: StoreOffer, place: str, options: str
) -> None:
    store = choose_store(settings, broker, NONE)
    found = dict(store.options)
    found.pop("ssl_check_hostname", None)
    assert (store.place, found) == (
        place,
        {
            "": {},
            "required": {"ssl_cert_reqs": "required"},
            "required + ca": {"ssl_cert_reqs": "required", "ssl_ca_certs": "/ca.pem"},
            "none": {"ssl_cert_reqs": "none"},
            "none + ca": {"ssl_cert_reqs": "none", "ssl_ca_certs": "/ca.pem"},
            "b": {"ssl_ca_certs": "/b"},
        }[options],
    )


@pytest.mark.parametrize(
    "settings, broker, is_checked",
    [
        (Settings(url="rediss://url"), NONE, True),
        (Settings(url="rediss://url", redis_use_ssl={"ssl_ca_certs": "/ca"}), NONE, True),
        (Settings(url="rediss://url?ssl_check_hostname=False"), NONE, False),
        (Settings(url="rediss://url?ssl_cert_reqs=none"), NONE, None),
        (Settings(redis_use_ssl={"ssl_check_hostname": False}), BROKER, False),
        (Settings(redis_use_ssl=True), TLS_BROKER, True),
        (Settings(), TLS_BROKER, None),
        (Settings(), StoreOffer("rediss://broker"), None),
        (Settings(url="sentinel://a", sentinel_master="m", redis_use_ssl=True), NONE, True),
    ],
)
def test_the_name_in_a_certificate_is_verified_unless_it_is_said_otherwise(
    settings: Settings, broker: StoreOffer, is_checked: bool | None
) -> None:
    options = choose_store(settings, broker, NONE).options
    assert options.get("ssl_check_hostname") == is_checked


@pytest.mark.parametrize("url", ["amqp://broker", "no url", "http://a", "sentinel+tls://a"])
def test_a_url_of_another_kind_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="url"):
        choose_store(Settings(url=url), NONE, NONE)


WATCHED = StoreOffer(
    "sentinel://:pw@one:1/2;sentinel://two",
    options={"master_name": "m", "sentinel_kwargs": {"password": "s"}, "min_other_sentinels": 1},
)


def test_a_broker_behind_sentinels_is_asked_for_as_celery_does() -> None:
    assert choose_store(Settings(), WATCHED, NONE).place == SentinelStore(
        sentinels=(("one", 1), ("two", 26379)),
        master="m",
        options={"password": "pw", "db": 2},
        sentinel_options={"password": "s"},
        min_other_sentinels=1,
    )


def test_settings_tell_of_sentinels_before_the_broker_does() -> None:
    settings = Settings(sentinel_master="ours", sentinel_kwargs={"password": "other"})
    place = choose_store(settings, WATCHED, NONE).place
    assert (place.master, place.sentinel_options) == ("ours", {"password": "other"})


def test_a_sentinel_url_of_ones_own_takes_nothing_from_the_broker() -> None:
    settings = Settings(url="sentinel://us%40er:p%3Aw@host/3", sentinel_master="m")
    assert choose_store(settings, WATCHED, NONE).place == SentinelStore(
        (("host", 26379),), "m", {"username": "us@er", "password": "p:w", "db": 3}
    )


def test_a_sentinel_url_needs_the_master_s_name() -> None:
    with pytest.raises(ConfigurationError, match="sentinel_master"):
        choose_store(Settings(url="sentinel://host"), WATCHED, NONE)


@pytest.mark.parametrize(
    "url",
    [
        "sentinel://a;redis://b",
        "sentinel://a/zero",
        "sentinel://a:port",
        "sentinel://a?ssl_cert_reqs=none",
    ],
)
def test_a_sentinel_url_of_another_form_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="sentinel://host"):
        choose_store(Settings(url=url, sentinel_master="m"), NONE, NONE)


def test_an_unknown_option_of_sentinels_is_refused() -> None:
    settings = Settings(
        url="sentinel://a", sentinel_master="m", sentinel_kwargs={"pasword": "no such"}
    )
    with pytest.raises(ConfigurationError, match=r"sentinel_kwargs.*pasword"):
        open_engine(choose_store(settings, NONE, NONE), settings)


def test_tls_behind_sentinels_is_the_master_s() -> None:
    settings = Settings(
        url="sentinel://a", sentinel_master="m", redis_use_ssl={"ssl_ca_certs": "/ca.pem"}
    )
    store = choose_store(settings, NONE, NONE)
    assert (store.place.is_tls, store.options) == (
        True,
        {"ssl_ca_certs": "/ca.pem", "ssl_check_hostname": True},
    )
    connection = engine_on(store).connect()
    assert isinstance(connection, redis.SSLConnection)


def test_tls_over_a_unix_socket_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="redis_use_ssl"):
        choose_store(Settings(url="unix:///a.sock", redis_use_ssl=True), NONE, NONE)


def test_a_storage_of_no_known_kind_is_refused() -> None:
    with pytest.raises(ConfigurationError):
        open_engine(choose_store(Settings(), NONE, NONE, object()), Settings())


def engine_of(app: Celery) -> RedisEngine:
    """Return the engine that an app opens; nothing is sent to its server."""
    engine = Ranch(app).engine
    assert isinstance(engine, RedisEngine)
    return engine


def engine_on(store: Store) -> RedisEngine:
    engine = open_engine(store, Settings())
    assert isinstance(engine, RedisEngine)
    return engine


def app_of(broker: Any, **conf: Any) -> Celery:
    app = Celery("opening", broker=broker, set_as_current=False)
    app.conf.update(conf)
    return app


def test_what_the_broker_s_url_says_is_taken_over() -> None:
    connection = engine_of(app_of("redis://us%40er:p%3Aw@broker:6380/3")).connect()
    assert (connection.host, connection.port, connection.db) == ("broker", 6380, 3)
    assert (connection.username, connection.password) == ("us@er", "p:w")


def test_what_the_broker_s_options_say_is_taken_over() -> None:
    transport = {"global_keyprefix": "app:", "socket_timeout": 3, "visibility_timeout": 60}
    engine = engine_of(app_of("redis://", broker_transport_options=transport))
    assert (engine.prefix, engine.connect().socket_timeout) == ("app:celery_ranch:", 3)


def test_what_the_broker_s_certificates_are_is_taken_over() -> None:
    certificates = {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_ca_certs": "/ca.pem"}
    engine = engine_of(app_of("rediss://broker/0", broker_use_ssl=certificates))
    assert engine.connect().ca_certs == "/ca.pem"


def test_the_first_of_several_brokers_is_taken() -> None:
    assert engine_of(app_of("redis://one/1;redis://two/2")).connect().db == 1


def test_all_sentinels_of_a_broker_and_its_login_are_taken() -> None:
    broker = "sentinel://us%40er:p%3Aw@one:1/4;sentinel://two:2/0"
    app = app_of(broker, broker_transport_options={"master_name": "m"})
    place = choose_store(Settings(), broker_offer(app), NONE).place
    assert place.sentinels == (("one", 1), ("two", 2))
    assert place.options == {"username": "us@er", "password": "p:w", "db": 4}


def test_a_result_backend_behind_sentinels_is_taken() -> None:
    app = app_of(
        "amqp://broker",
        result_backend="sentinel://:pw@one/5;sentinel://two/5",
        result_backend_transport_options={"master_name": "m", "sentinel_kwargs": {"db": 0}},
    )
    place = choose_store(Settings(), NONE, backend_offer(app)).place
    assert (place.master, place.options["db"], len(place.sentinels)) == ("m", 5, 2)


def test_a_client_that_sentinels_made_is_taken_over() -> None:
    manager = Sentinel([("one", 1), ("two", 2)], sentinel_kwargs={"password": "s"})
    client = manager.master_for("m", password="pw", db=3)
    connection = engine_on(choose_store(Settings(), NONE, NONE, client)).connect()
    assert (connection.password, connection.db) == ("pw", 3)
    replica = manager.slave_for("m")
    with pytest.raises(ConfigurationError, match="master_for"):
        open_engine(choose_store(Settings(), NONE, NONE, replica), Settings())


def test_a_broker_on_a_unix_socket_is_taken(tmp_path: Path) -> None:
    connection = engine_of(app_of(f"redis+socket://{tmp_path}/s?virtual_host=2")).connect()
    assert (connection.path, connection.db) == (f"{tmp_path}/s", 2)


def test_another_broker_with_a_redis_result_backend_stores_there() -> None:
    app = app_of(
        "amqp://broker",
        result_backend="redis://results/5",
        result_backend_transport_options={"global_keyprefix": "r:"},
    )
    engine = engine_of(app)
    assert (engine.prefix, engine.connect().db) == ("r:celery_ranch:", 5)


def test_memory_is_the_last_resort_with_one_loud_warning() -> None:
    app = app_of("amqp://broker")
    with pytest.warns(RanchWarning, match="only a worker in this very process"):
        engine = Ranch(app).engine
    assert isinstance(engine, MemoryEngine)
    assert Ranch(app).engine is engine


def test_memory_that_was_asked_for_is_no_surprise() -> None:
    app = app_of("amqp://broker", celery_ranch={"url": "memory://"})
    assert isinstance(Ranch(app).engine, MemoryEngine)


@pytest.mark.parametrize("chosen", [{}, {"url": "memory://"}])
def test_a_key_setting_needs_a_store_that_others_reach(chosen: dict[str, str]) -> None:
    app = app_of("amqp://broker", celery_ranch={"lru_key": "acme", **chosen})
    with pytest.raises(ConfigurationError, match="lru_key"):
        _ = Ranch(app).engine


def test_a_storage_given_later_is_used_from_then_on() -> None:
    app = app_of("amqp://broker", celery_ranch={"url": "memory://"})
    assert isinstance(Ranch(app).engine, MemoryEngine)
    configure(app, RedisStorage(CLIENT, prefix="later:"))
    assert engine_of(app).prefix == "later:"


def test_an_engine_may_be_given_as_it_is() -> None:
    app, engine = app_of("amqp://broker"), MemoryEngine()
    configure(app, engine)
    assert Ranch(app).engine is engine


def test_what_an_engine_is_told_comes_from_the_settings() -> None:
    settings = Settings(lease_seconds=2.5, max_deliveries=3, dead_letter_limit=7, redis_key_ttl=60)
    engine = open_engine(Store("redis://", "p:"), settings)
    assert isinstance(engine, RedisEngine)
    told = engine.settings
    assert (told.lease_us, told.idle_key_us) == (2_500_000, 60_000_000)
    assert (told.max_deliveries, told.dead_letter_limit) == (3, 7)


def test_there_is_one_ranch_per_app() -> None:
    app, other = app_of("memory://"), app_of("memory://")
    assert Ranch(app) is Ranch.of(app) is configure(app)
    assert Ranch(app) is not Ranch(other)
