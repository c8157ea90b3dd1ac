"""The peers: how each is started, what it guarantees, and which Debian packages it is of."""
import os

from harness import GATE_CORE, HERE, SECRET, Server, fill_in, free_ports, passgate

NGINX = ["nginx"]
LUA = NGINX + ["libnginx-mod-http-lua", "lua-resty-core"]
REDIS = LUA + ["lua-nginx-redis", "redis-server"]


class Peer:
    """A peer that can be started.

    `verifies`: refuses forged events. `dedupes`: how it knows a duplicate, or None. `durable`: what
    survives a crash once the sender is answered. `stores`: answers first and delivers afterwards."""

    def __init__(self, start, packages=(), verifies=False, dedupes=None, durable="nothing", stores=False):
        self.start, self.packages = start, packages
        self.verifies, self.dedupes, self.durable, self.stores = verifies, dedupes, durable, stores


def _file(name, run, **values):
    path = f"{run}/{name}"
    with open(path, "w") as f:
        f.write(fill_in(open(f"{HERE}/peers/{name}").read(), RUN=run, **values))
    return path


def _nginx(run, port, app, lua=None, redis_port=0):
    modules = "/usr/lib/nginx/modules"
    file = _file(
        "nginx.conf", run, LISTEN=f"127.0.0.1:{port}", APP=f"127.0.0.1:{app}",
        LUA_MODULES=lua and f"load_module {modules}/ndk_http_module.so; load_module {modules}/ngx_http_lua_module.so;" or "",
        LUA_SETUP=lua and f'''lua_shared_dict seen 1024m;
    lua_shared_dict limits 1m;
    lua_package_path "{HERE}/peers/?.lua;/usr/share/lua/5.1/?.lua;;";
    init_by_lua_block {{ gate = require "gate"; gate.setup("{SECRET}", "{lua}", {redis_port}) }}''' or "",
        LUA_CHECK=lua and "access_by_lua_block { gate.check() }" or "")
    return [Server(["nginx", "-p", run, "-e", f"{run}/error.log", "-c", file], GATE_CORE, run).wait_for(port)]


def _redis(sync):
    def start(run, port, app):
        redis_port = free_ports(1)[0]
        redis = Server(["redis-server", "--port", str(redis_port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes",
                        "--appendfsync", sync, "--dir", run, "--loglevel", "warning"], GATE_CORE, run).wait_for(redis_port)
        return [redis] + _nginx(run, port, app, "redis", redis_port)
    return start


def _haproxy(name):
    def start(run, port, app):
        file = _file(name, run, LISTEN=f"127.0.0.1:{port}", APP=f"127.0.0.1:{app}")
        return [Server(["haproxy", "-db", "-f", file], GATE_CORE, run).wait_for(port)]
    return start


def _caddy(run, port, app):
    file = _file("Caddyfile", run, LISTEN=f"127.0.0.1:{port}", APP=f"127.0.0.1:{app}")
    return [Server(["caddy", "run", "--config", file, "--adapter", "caddyfile"], GATE_CORE, run,
                   {"XDG_DATA_HOME": run, "XDG_CONFIG_HOME": run}).wait_for(port)]


def passgate_server(run, port, app, route='delivery = "inline"', admin=None, more=""):
    """The gateway as it starts, its store in `run`; `route`: further lines of its route; `more`: of the file."""
    file = _file("passgate.toml", run, LISTEN=f"127.0.0.1:{port}", ADMIN=f"127.0.0.1:{admin or free_ports(1)[0]}",
                 APP=f"127.0.0.1:{app}", ROUTE=route, MORE=more)
    return Server([passgate(), "run", "--config", file], GATE_CORE, run, {"SECRET": SECRET})


def _passgate(route):
    return lambda run, port, app: [passgate_server(run, port, app, route).wait_for(port)]


PEERS = {
    "direct": Peer(lambda run, port, app: []),
    "nginx": Peer(_nginx, NGINX),
    "haproxy": Peer(_haproxy("haproxy.cfg"), ["haproxy"]),
    "caddy": Peer(_caddy, ["caddy"]),
    "haproxy-memory": Peer(_haproxy("haproxy-memory.cfg"), ["haproxy"], True, "id"),
    "nginx-lua-memory": Peer(lambda run, port, app: _nginx(run, port, app, "memory"), LUA, True, "id"),
    "nginx-lua-redis-everysec": Peer(_redis("everysec"), REDIS, True, "id", "ids, but for 1 s"),
    "nginx-lua-redis": Peer(_redis("always"), REDIS, True, "id", "ids"),
    "passgate": Peer(_passgate('delivery = "inline"'), [], True, "id, content", "ids"),
    "passgate-spill": Peer(_passgate('delivery = "spill"'), [], True, "id, content", "ids, failed events"),
    "passgate-queue": Peer(_passgate('delivery = "queue"'), [], True, "id, content", "ids, events", True),
    "passgate-ids": Peer(_passgate('delivery = "inline"\nsame_content = "forward"'), [], True, "id", "ids"),
}
