//go:build linux

package hosts

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/quorumd/quorumd/test/ports"
)

// proxy stands at the client port of one host's etcd, which listens on another
// port, and knows when a call was answered and its caller has not heard of it yet.
// It understands no message: bytes in, bytes out.
type proxy struct {
	fleet  *Fleet
	ln     net.Listener
	server *grpc.Server
	to     *grpc.ClientConn
	served chan struct{}
}

func (f *Fleet) newProxy(h *Host) (*proxy, error) {
	ln, err := net.Listen("tcp", netip.AddrPortFrom(h.Addr, uint16(f.ports.client)).String())
	if err != nil {
		return nil, err
	}
	soon := grpc.ConnectParams{MinConnectTimeout: time.Second,
		Backoff: backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.2, MaxDelay: 200 * time.Millisecond}}
	to, err := grpc.NewClient("passthrough:///"+netip.AddrPortFrom(h.Addr, uint16(f.ports.behind)).String(),
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithConnectParams(soon),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(bytesCodec{}), grpc.MaxCallRecvMsgSize(64<<20)))
	if err != nil {
		return nil, errors.Join(err, ports.Free(ln))
	}
	p := &proxy{fleet: f, ln: ln, to: to, served: make(chan struct{})}
	p.server = grpc.NewServer(grpc.ForceServerCodec(bytesCodec{}), grpc.UnknownServiceHandler(p.forward), grpc.MaxRecvMsgSize(64<<20))
	go func() {
		defer close(p.served)
		_ = p.server.Serve(ln) // its end is close's doing
	}()
	return p, nil
}

// close cuts all connections.
func (p *proxy) close() {
	_ = ports.Free(p.ln) // who listens there next says so if it is not
	p.server.Stop()
	p.to.Close()
	<-p.served
}

// forward carries one call, unary or not, with its metadata and its end.
func (p *proxy) forward(_ any, in grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(in)
	ctx, cancel := context.WithCancel(in.Context())
	defer cancel()
	if md, ok := metadata.FromIncomingContext(ctx); ok {
		ctx = metadata.NewOutgoingContext(ctx, md.Copy())
	}
	both := &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}
	out, err := p.to.NewStream(ctx, both, method)
	if err != nil {
		return err
	}
	first := make(chan []byte, 1)
	go func() { // ends with the stream: RecvMsg fails then
		for n := 0; ; n++ {
			var m []byte
			if err := in.RecvMsg(&m); err != nil {
				_ = out.CloseSend()
				return
			}
			if n == 0 {
				first <- m
			}
			if out.SendMsg(m) != nil {
				return // RecvMsg of out tells why
			}
		}
	}()
	for n := 0; ; n++ {
		var m []byte
		switch err := out.RecvMsg(&m); {
		case errors.Is(err, io.EOF):
			in.SetTrailer(out.Trailer())
			return nil
		case err != nil:
			in.SetTrailer(out.Trailer())
			return err
		}
		if n == 0 {
			if !p.tell(in.Context(), method, first) {
				return status.Error(codes.Unavailable, "the answer was dropped")
			}
		}
		if err := in.SendMsg(m); err != nil {
			return err
		}
	}
}

// tell reports the first answer of a call; a server never answers before it was asked.
func (p *proxy) tell(ctx context.Context, method string, first <-chan []byte) bool {
	select {
	case request := <-first:
		return p.fleet.cfg.Answered(Answer{Call: method, Request: request, Caller: func() *Host {
			if from, ok := peer.FromContext(ctx); ok {
				return p.fleet.callerAt(from.Addr.String(), from.LocalAddr)
			}
			return nil
		}})
	case <-ctx.Done():
		return false
	}
}

// bytesCodec leaves messages as they are on the wire.
type bytesCodec struct{}

func (bytesCodec) Marshal(v any) ([]byte, error) { return v.([]byte), nil }
func (bytesCodec) Unmarshal(b []byte, v any) error {
	*v.(*[]byte) = append([]byte(nil), b...)
	return nil
}
func (bytesCodec) Name() string { return "proto" }
