// Package reply holds what every contender answers: the reply that ours gave, handed over as a file so that all send the
// same message.
package reply

import (
	"context"
	"log"
	"net"
	"net/http"
	"os"

	"google.golang.org/protobuf/proto"

	"bench/gen/admin"
)

// Arguments returns the listener and the reply, from the command line PORT REPLY.
func Arguments() (net.Listener, *admin.GetMyInstanceResponse) {
	listener, err := net.Listen("tcp", "127.0.0.1:"+os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	encoded, err := os.ReadFile(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	message := &admin.GetMyInstanceResponse{}
	if err := proto.Unmarshal(encoded, message); err != nil {
		log.Fatal(err)
	}
	return listener, message
}

// Servicer answers GetMyInstance with a message that is there already; encoding it is left to whatever serves it.
type Servicer struct {
	admin.UnimplementedAdminServiceServer
	Reply *admin.GetMyInstanceResponse
}

// GetMyInstance returns the reply.
func (s *Servicer) GetMyInstance(context.Context, *admin.GetMyInstanceRequest) (*admin.GetMyInstanceResponse, error) {
	return s.Reply, nil
}

// Serve answers HTTP/1.1, and HTTP/2 without TLS, until the process is ended.
func Serve(listener net.Listener, handler http.Handler) {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{Handler: handler, Protocols: protocols}
	log.Fatal(server.Serve(listener))
}
