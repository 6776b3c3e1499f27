// A Go HTTP host with a plugin of HashiCorp's go-plugin over net/rpc, both in one program: the host starts itself again as
// the plugin, with the argument "plugin". A request becomes one call, and the call's answer the response.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/rpc"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
)

var handshake = plugin.HandshakeConfig{ProtocolVersion: 1, MagicCookieKey: "TORU_BENCH", MagicCookieValue: "rival"}

// Request and Response are what crosses the socket.
type Request struct {
	Method string
	Path   string
	Header map[string][]string
	Body   []byte
}

type Response struct {
	Status int
	Header map[string][]string
	Body   []byte
}

// Application answers a request.
type Application interface {
	Handle(request Request) (Response, error)
}

const hundredBytes = `{"plugin":"go-plugin","padding":"................................................................."}`

var dots = []byte(strings.Repeat(".", 1<<20))

// example answers what the example plugins answer.
type example struct{}

func (example) Handle(request Request) (Response, error) {
	path, query, _ := strings.Cut(request.Path, "?")
	switch path {
	case "/json":
		return answer("application/json", []byte(hundredBytes)), nil
	case "/echo":
		return answer("application/octet-stream", request.Body), nil
	case "/download":
		bytes, err := strconv.Atoi(strings.TrimPrefix(query, "bytes="))
		if err != nil || bytes < 0 || bytes > len(dots) {
			return Response{Status: 400}, nil
		}
		return answer("application/octet-stream", dots[:bytes]), nil
	}
	return Response{Status: 404}, nil
}

func answer(contentType string, body []byte) Response {
	return Response{Status: 200, Header: map[string][]string{"Content-Type": {contentType}}, Body: body}
}

// server and client are the two ends of a call, as go-plugin's examples have them.
type server struct{ application Application }

func (s *server) Handle(request Request, response *Response) error {
	answer, err := s.application.Handle(request)
	*response = answer
	return err
}

type client struct{ calls *rpc.Client }

func (c *client) Handle(request Request) (Response, error) {
	var response Response
	err := c.calls.Call("Plugin.Handle", request, &response)
	return response, err
}

type applicationPlugin struct{}

func (applicationPlugin) Server(*plugin.MuxBroker) (interface{}, error) {
	return &server{example{}}, nil
}

func (applicationPlugin) Client(_ *plugin.MuxBroker, calls *rpc.Client) (interface{}, error) {
	return &client{calls}, nil
}

func main() {
	plugins := map[string]plugin.Plugin{"application": applicationPlugin{}}
	if len(os.Args) > 1 && os.Args[1] == "plugin" {
		plugin.Serve(&plugin.ServeConfig{HandshakeConfig: handshake, Plugins: plugins})
		return
	}
	if err := host(plugins); err != nil {
		fmt.Fprintln(os.Stderr, "go-plugin:", err)
		os.Exit(1)
	}
}

// host starts the plugin and serves HTTP on a free port of the loopback until SIGTERM.
func host(plugins map[string]plugin.Plugin) error {
	started := plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig: handshake,
		Plugins:         plugins,
		Cmd:             exec.Command(os.Args[0], "plugin"),
		Logger:          hclog.NewNullLogger(),
	})
	defer started.Kill()
	protocol, err := started.Client()
	if err != nil {
		return err
	}
	dispensed, err := protocol.Dispense("application")
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Printf("listening on http://%s\n", listener.Addr())
	application := dispensed.(Application)
	go http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { forward(application, w, r) }))
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM)
	<-ended
	return nil
}

func forward(application Application, w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	response, err := application.Handle(Request{Method: r.Method, Path: r.URL.RequestURI(), Header: r.Header, Body: body})
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	for name, values := range response.Header {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(response.Body)))
	w.WriteHeader(response.Status)
	w.Write(response.Body)
}
