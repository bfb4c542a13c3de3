// grpc-gateway in the process of its servicer, which spares it the call to a gRPC server.
package main

import (
	"context"
	"log"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"

	"bench/gen/admin"
	"bench/reply"
)

func main() {
	listener, message := reply.Arguments()
	mux := runtime.NewServeMux()
	if err := admin.RegisterAdminServiceHandlerServer(context.Background(), mux, &reply.Servicer{Reply: message}); err != nil {
		log.Fatal(err)
	}
	reply.Serve(listener, mux)
}
