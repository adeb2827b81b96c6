"""A gRPC server without generated code: bytes in, bytes out."""

import sys
from concurrent import futures

import grpc

seen: list[bytes] = []


def leak(request: bytes, context: grpc.ServicerContext) -> bytes:
    seen.append(request * 100)  # the leak
    return b"fine"


def mended(request: bytes, context: grpc.ServicerContext) -> bytes:
    seen[:] = [request * 100]
    return b"fine"


if __name__ == "__main__":
    server = grpc.server(futures.ThreadPoolExecutor(2))
    methods = {
        "Leak": grpc.unary_unary_rpc_method_handler(leak),
        "Mended": grpc.unary_unary_rpc_method_handler(mended),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("of.Tests", methods),))
    server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
    server.start()
    server.wait_for_termination()
