// A relay as somebody else writes it: github.com/zishang520/socket.io's client and golang.org/x/crypto/ssh, from the
// public description alone.
//
//	RELAY_URL=http://127.0.0.1:8080 PROXY_ID=rel-... API_KEY=prk_... relay
//
// RELAY_BY is `auth` or `query`, RELAY_TRANSPORT is `websocket` or `polling`.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/zishang520/socket.io/clients/socket/v3"
	"github.com/zishang520/socket.io/v3/pkg/types"
	"golang.org/x/crypto/ssh"
)

const loginWithin = 10 * time.Second

type command struct {
	ID         string `json:"commandId"`
	Host       string `json:"host"`
	Port       int    `json:"port"`
	Username   string `json:"username"`
	Password   string `json:"password"`
	PrivateKey string `json:"privateKey"`
	Command    string `json:"command"`
	TimeoutMS  int64  `json:"timeout"`
}

func say(words ...any) {
	fmt.Println(words...)
}

func logIn(c command) (*ssh.Client, error) {
	config := &ssh.ClientConfig{User: c.Username, HostKeyCallback: ssh.InsecureIgnoreHostKey()}
	if c.PrivateKey != "" {
		key, err := ssh.ParsePrivateKey([]byte(c.PrivateKey))
		if err != nil {
			return nil, err
		}
		config.Auth = append(config.Auth, ssh.PublicKeys(key))
	}
	if c.Password != "" {
		config.Auth = append(config.Auth, ssh.Password(c.Password))
	}
	address := net.JoinHostPort(c.Host, strconv.Itoa(c.Port))
	connection, err := net.DialTimeout("tcp", address, loginWithin)
	if err != nil {
		return nil, err
	}
	connection.SetDeadline(time.Now().Add(loginWithin))
	client, channels, requests, err := ssh.NewClientConn(connection, address, config)
	if err != nil {
		connection.Close()
		return nil, err
	}
	connection.SetDeadline(time.Now().Add(time.Duration(c.TimeoutMS) * time.Millisecond))
	return ssh.NewClient(client, channels, requests), nil
}

func execute(c command) map[string]any {
	answer := func(stdout, stderr string, exitCode int) map[string]any {
		return map[string]any{"stdout": stdout, "stderr": stderr, "exitCode": exitCode}
	}
	client, err := logIn(c)
	if err != nil {
		return answer("", err.Error(), 1)
	}
	defer client.Close()
	session, err := client.NewSession()
	if err != nil {
		return answer("", err.Error(), 1)
	}
	var stdout, stderr bytes.Buffer
	session.Stdout, session.Stderr = &stdout, &stderr
	err = session.Run(c.Command)
	var ended *ssh.ExitError
	if errors.As(err, &ended) {
		return answer(stdout.String(), stderr.String(), ended.ExitStatus())
	}
	if err != nil {
		return answer("", err.Error(), 1)
	}
	return answer(stdout.String(), stderr.String(), 0)
}

func options() *socket.Options {
	id, key := os.Getenv("PROXY_ID"), os.Getenv("API_KEY")
	options := socket.DefaultOptions()
	// the handlers come first
	options.SetAutoConnect(false)
	options.SetReconnectionDelay(200)
	options.SetReconnectionDelayMax(1000)
	// it does not hear that a connection is refused, and waits so long
	options.SetTimeout(2 * time.Second)
	if os.Getenv("RELAY_TRANSPORT") == "polling" {
		options.SetTransports(types.NewSet(socket.Polling))
	} else {
		options.SetTransports(types.NewSet(socket.WebSocket))
	}
	if os.Getenv("RELAY_BY") == "query" {
		options.SetQuery(url.Values{"proxyId": {id}, "apiKey": {key}})
	} else {
		options.SetAuth(map[string]any{"proxyId": id, "apiKey": key})
	}
	return options
}

func main() {
	client, err := socket.Connect(os.Getenv("RELAY_URL")+"/proxy", options())
	if err != nil {
		say("no connection:", err)
		os.Exit(1)
	}
	again := func(after time.Duration) {
		// it does not come back by itself when the server said so
		if !client.Active() {
			time.AfterFunc(after, func() { client.Connect() })
		}
	}
	client.On("connect", func(...any) { say("connected") })
	client.On("disconnect", func(why ...any) {
		say(append([]any{"disconnected"}, why...)...)
		again(200 * time.Millisecond)
	})
	client.On("connect_error", func(why ...any) {
		say(append([]any{"refused"}, why...)...)
		again(500 * time.Millisecond)
	})
	client.On("execute_command", func(data ...any) {
		var c command
		text, err := json.Marshal(data[0])
		if err == nil {
			err = json.Unmarshal(text, &c)
		}
		if err != nil {
			say("unreadable", err)
			return
		}
		say("execute", c.ID)
		go func() {
			result := execute(c)
			// the client keeps it until it is connected
			client.Emit("command_result", map[string]any{"commandId": c.ID, "result": result})
			say("answered", c.ID)
		}()
	})
	client.On("command_result_received", func(data ...any) {
		if answer, ok := data[0].(map[string]any); ok {
			say("received", answer["success"])
		}
	})
	client.Connect()
	select {}
}
