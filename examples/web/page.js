import { toJson } from "@bufbuild/protobuf";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { BadRequestSchema } from "./generated/google/rpc/error_details_pb.js";
import { AdminService } from "./generated/zitadel/admin_pb.js";
import { SystemService } from "./generated/zitadel/system_pb.js";

const element = (id) => document.getElementById(id);
const value = (id) => element(id).value.trim();
const client = (service) => createClient(service, createGrpcWebTransport({ baseUrl: value("server") }));
const bearer = () => ({ authorization: `Bearer ${value("token")}` });

const addInstance = (options) =>
  client(SystemService).addInstance(
    { instanceName: value("name"), customDomain: value("domain"), ownerEmail: { email: value("email") } },
    { ...options, headers: bearer() },
  );

// The server finds the instance by the host that is asked. A page that reaches it under
// another name says which instance it means in this header.
const getMyInstance = (options) =>
  client(AdminService).getMyInstance({}, { ...options, headers: { ...bearer(), "x-zitadel-instance-host": value("host") } });

function show(kind, heading, body) {
  element("outcome").className = kind;
  element("heading").textContent = heading;
  element("body").textContent = body;
}

function showError(error) {
  // The browser's own words for it say less.
  if (error.cause instanceof TypeError) return show("error", "No answer", `Is a server running at ${value("server")}?`);
  const violations = error
    .findDetails(BadRequestSchema)
    .flatMap((detail) => detail.fieldViolations.map(({ field, description }) => `  ${field}: ${description}`));
  const details = violations.length ? ["", "google.rpc.BadRequest", ...violations] : [];
  show("error", Code[error.code], [error.rawMessage, ...details].join("\n"));
}

function on(form, method, call) {
  const button = element(form).querySelector("button");
  button.disabled = false;
  element(form).addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    show("", "…", "");
    try {
      let requestId;
      const reply = await call({ onHeader: (headers) => (requestId = headers.get("x-request-id")) });
      show("ok", `OK · request ${requestId}`, JSON.stringify(toJson(method.output, reply), null, 2));
      if (form === "add") element("host").value = value("domain");
    } catch (error) {
      showError(ConnectError.from(error));
    }
    button.disabled = false;
  });
}

on("add", SystemService.method.addInstance, addInstance);
on("get", AdminService.method.getMyInstance, getMyInstance);
show("", "Ready", "The reply, or the error with its details, appears here.");
