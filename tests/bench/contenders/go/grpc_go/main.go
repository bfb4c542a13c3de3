// grpc-go, bare.
package main

import (
	"log"

	"google.golang.org/grpc"

	"bench/gen/admin"
	"bench/reply"
)

func main() {
	listener, message := reply.Arguments()
	server := grpc.NewServer()
	admin.RegisterAdminServiceServer(server, &reply.Servicer{Reply: message})
	log.Fatal(server.Serve(listener))
}
