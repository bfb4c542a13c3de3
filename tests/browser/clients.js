// The clients that the tests drive. Each takes a method and a request as JSON and answers
// { message, headers } or { error: { code, message, violations }, headers }.
import { create, fromBinary, fromJson, toBinary, toJson } from "@bufbuild/protobuf";
import { anyUnpack } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createConnectTransport, createGrpcWebTransport } from "@connectrpc/connect-web";
import { GrpcWebClientBase, MethodDescriptor, StatusCode } from "grpc-web";
import { BadRequestSchema } from "../../examples/web/generated/google/rpc/error_details_pb.js";
import { AdminService } from "../../examples/web/generated/zitadel/admin_pb.js";
import { SystemService } from "../../examples/web/generated/zitadel/system_pb.js";
import { StatusSchema } from "./generated/google/rpc/status_pb.js";

const services = { SystemService, AdminService };
const violationsOf = (badRequests) =>
  badRequests.flatMap((one) => one.fieldViolations).map(({ field, description }) => ({ field, description }));

function connectWeb(transportTo) {
  return async (server, service, method, request, metadata) => {
    let headers = {};
    const client = createClient(service, transportTo(server));
    try {
      const onHeader = (received) => (headers = Object.fromEntries(received));
      const reply = await client[method.localName](fromJson(method.input, request), { headers: metadata, onHeader });
      return { message: toJson(method.output, reply), headers };
    } catch (thrown) {
      const error = ConnectError.from(thrown);
      const violations = violationsOf(error.findDetails(BadRequestSchema));
      // connect-web gives the headers of a failed call as part of the error.
      headers = Object.fromEntries(error.metadata);
      return { error: { code: Code[error.code], message: error.rawMessage, violations }, headers };
    }
  };
}

const byConnect = (useBinaryFormat) => (baseUrl) =>
  createConnectTransport({ baseUrl, useBinaryFormat, useHttpGet: true });

function grpcWeb(format) {
  return (server, service, method, request, metadata) => {
    const descriptor = new MethodDescriptor(
      `/${service.typeName}/${method.name}`,
      "unary",
      Object,
      Object,
      (message) => toBinary(method.input, message),
      (bytes) => fromBinary(method.output, bytes),
    );
    const client = new GrpcWebClientBase({ format });
    const url = `${server}/${service.typeName}/${method.name}`;
    return new Promise((resolve) => {
      let headers = {};
      let message;
      client
        .rpcCall(url, fromJson(method.input, request), metadata, descriptor, (error, reply) => {
          if (!error) {
            // The headers come after the message here, and then the end.
            message = toJson(method.output, reply);
            return;
          }
          const binary = error.metadata["grpc-status-details-bin"];
          const status = binary ? fromBinary(StatusSchema, bytesOf(binary)) : create(StatusSchema);
          const badRequests = status.details.map((any) => anyUnpack(any, BadRequestSchema)).filter(Boolean);
          const code = Object.keys(StatusCode).find((key) => StatusCode[key] === error.code);
          const violations = violationsOf(badRequests);
          resolve({ error: { code, message: error.message, violations }, headers: error.metadata });
        })
        .on("metadata", (received) => (headers = received))
        .on("end", () => resolve({ message, headers }));
    });
  };
}

const bytesOf = (base64) => Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));

const clients = {
  "connect-web": connectWeb((baseUrl) => createGrpcWebTransport({ baseUrl })),
  "connect-json": connectWeb(byConnect(false)),
  "connect-binary": connectWeb(byConnect(true)),
  "grpc-web": grpcWeb("binary"),
  "grpc-web-text": grpcWeb("text"),
};

window.call = (client, server, path, request, metadata) => {
  const [service, name] = path.split("/");
  const method = services[service].methods.find((one) => one.name === name);
  return clients[client](server, services[service], method, request, metadata);
};
window.ready = true;
