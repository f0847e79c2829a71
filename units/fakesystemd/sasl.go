package fakesystemd

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
)

// handshake is the server's side of D-Bus authentication, for the one mechanism
// that systemd's clients use: EXTERNAL, "you know from the socket who I am".
// Only our own user gets in.
func handshake(conn *net.UnixConn, in *bufio.Reader, guid string) error {
	uid, err := peerUID(conn)
	if err != nil {
		return err
	}
	if int(uid) != os.Getuid() {
		return fmt.Errorf("client is uid %d, we are %d", uid, os.Getuid())
	}
	if b, err := in.ReadByte(); err != nil || b != 0 {
		return errors.Join(errors.New("no null byte at the beginning"), err)
	}
	authenticated := false
	for range 32 { // a client that has not found its way by then never will
		line, err := in.ReadString('\n')
		if err != nil {
			return fmt.Errorf("read handshake: %w", err)
		}
		words := strings.Fields(line)
		reply := "ERROR"
		switch {
		case len(words) == 0:
		case words[0] == "AUTH" && len(words) == 2 && words[1] == "EXTERNAL":
			reply = "DATA" // the client names itself in the next line, or stays empty
		case words[0] == "AUTH" && len(words) == 3 && words[1] == "EXTERNAL", words[0] == "DATA":
			authenticated = claims(words, uid)
			if reply = "REJECTED EXTERNAL"; authenticated {
				reply = "OK " + guid
			}
		case words[0] == "AUTH", words[0] == "CANCEL":
			reply = "REJECTED EXTERNAL"
		case words[0] == "BEGIN" && authenticated:
			return nil
		case words[0] == "BEGIN":
			return errors.New("client begins without authentication")
		}
		if _, err := conn.Write([]byte(reply + "\r\n")); err != nil {
			return fmt.Errorf("write handshake: %w", err)
		}
	}
	return errors.New("handshake does not end")
}

// claims tells whether the client claims to be uid, or claims nothing.
func claims(words []string, uid uint32) bool {
	claim := words[len(words)-1]
	if words[0] == "DATA" && len(words) == 1 {
		return true
	}
	name, err := hex.DecodeString(claim)
	return err == nil && string(name) == strconv.Itoa(int(uid))
}
