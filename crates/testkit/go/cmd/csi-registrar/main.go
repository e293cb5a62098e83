// Command csi-registrar announces a CSI driver to one kubelet.
//
// The kubelet's plugin watcher dials a socket in its plugins_registry folder with a percent-encoded path as the HTTP/2
// :authority, which stricter HTTP/2 servers refuse; a Go server answers it. Nothing else of the driver needs Go.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"google.golang.org/grpc"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

type server struct {
	registration.UnimplementedRegistrationServer
	driver, endpoint string
}

func (s *server) GetInfo(context.Context, *registration.InfoRequest) (*registration.PluginInfo, error) {
	return &registration.PluginInfo{
		Type:              registration.CSIPlugin,
		Name:              s.driver,
		Endpoint:          s.endpoint,
		SupportedVersions: []string{"1.0.0"},
	}, nil
}

func (s *server) NotifyRegistrationStatus(_ context.Context, status *registration.RegistrationStatus) (*registration.RegistrationStatusResponse, error) {
	if status.PluginRegistered {
		fmt.Printf("registered driver=%s endpoint=%s\n", s.driver, s.endpoint)
	} else {
		// The kubelet tries again on its own: stay up and keep its reason in the log.
		fmt.Fprintf(os.Stderr, "the kubelet refused driver=%s: %s\n", s.driver, status.Error)
	}
	return &registration.RegistrationStatusResponse{}, nil
}

func run() error {
	driver := flag.String("driver", "", "name of the CSI driver")
	endpoint := flag.String("endpoint", "", "path of the driver's CSI socket as the kubelet sees it")
	registry := flag.String("registry", "", "the kubelet's plugins_registry folder")
	flag.Parse()
	if *driver == "" || *endpoint == "" || *registry == "" {
		return errors.New("-driver, -endpoint and -registry are required")
	}
	socket := filepath.Join(*registry, *driver+"-reg.sock")
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove old socket: %w", err)
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	grpcServer := grpc.NewServer()
	registration.RegisterRegistrationServer(grpcServer, &server{driver: *driver, endpoint: *endpoint})
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM, syscall.SIGINT)
	go func() { <-end; grpcServer.Stop() }()
	return grpcServer.Serve(listener)
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "csi-registrar:", err)
		os.Exit(1)
	}
}
