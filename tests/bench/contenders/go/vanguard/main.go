// vanguard-go before a handler of connect-go, which speaks gRPC, gRPC-Web and Connect itself; vanguard adds the rules.
package main

import (
	"context"
	"log"

	"connectrpc.com/connect"
	"connectrpc.com/vanguard"

	"bench/gen/admin"
	"bench/gen/admin/adminconnect"
	"bench/reply"
)

type handler struct {
	adminconnect.UnimplementedAdminServiceHandler
	reply *admin.GetMyInstanceResponse
}

func (h *handler) GetMyInstance(
	context.Context, *connect.Request[admin.GetMyInstanceRequest],
) (*connect.Response[admin.GetMyInstanceResponse], error) {
	return connect.NewResponse(h.reply), nil
}

func main() {
	listener, message := reply.Arguments()
	service := vanguard.NewService(adminconnect.NewAdminServiceHandler(&handler{reply: message}))
	transcoder, err := vanguard.NewTranscoder([]*vanguard.Service{service})
	if err != nil {
		log.Fatal(err)
	}
	reply.Serve(listener, transcoder)
}
