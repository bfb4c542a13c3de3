// Improbable's grpcweb before grpc-go.
package main

import (
	"github.com/improbable-eng/grpc-web/go/grpcweb"
	"google.golang.org/grpc"

	"bench/gen/admin"
	"bench/reply"
)

func main() {
	listener, message := reply.Arguments()
	server := grpc.NewServer()
	admin.RegisterAdminServiceServer(server, &reply.Servicer{Reply: message})
	reply.Serve(listener, grpcweb.WrapServer(server))
}
