// Load where requests differ, which h2load's do not: with other tokens, for other instances, or reads beside adds.
//
// It reads a plan from stdin and prints what came of it, both JSON; plan and outcome say what they hold. A connection
// makes one call after the other over HTTP/1.1. Calls are dealt out to whichever connection is free, so that none has
// to go on alone at the end.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http/httputil"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A call is `Before`, one of `Values`, and `After`: a whole request.
type group struct {
	Name        string   `json:"name"`
	Connections int      `json:"connections"`
	Calls       int64    `json:"calls"`
	Before      string   `json:"before"`
	Values      []string `json:"values"`
	After       string   `json:"after"`
	// Bytes in the body of a reply; 0 where they differ.
	Reply int `json:"reply"`
	// Calls of the first group for each call of this one, which ends with the first. 0 in the first.
	Every int64 `json:"every"`
}

type plan struct {
	Address string  `json:"address"`
	Groups  []group `json:"groups"`
}

type outcome struct {
	Calls   int     `json:"calls"`
	Wrong   int     `json:"wrong"`
	Problem string  `json:"problem"`
	Seconds float64 `json:"seconds"`
	// Seconds that calls took: the median, and what 99 and 99.9 of 100 stay under.
	P50  float64 `json:"p50"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p999"`
}

type tally struct {
	sync.Mutex
	times   []time.Duration
	wrong   int
	problem string
}

func main() {
	log.SetFlags(0)
	var given plan
	if err := json.NewDecoder(os.Stdin).Decode(&given); err != nil {
		log.Fatal(err)
	}
	tallies := make([]tally, len(given.Groups))
	// Calls that have been dealt out, and calls that have come back.
	dealt := make([]atomic.Int64, len(given.Groups))
	var done atomic.Int64
	over := make(chan struct{})
	var first, all sync.WaitGroup
	began := time.Now()
	for number := range given.Groups {
		each := &given.Groups[number]
		next := func() (int64, bool) {
			call := dealt[number].Add(1) - 1
			if each.Every == 0 {
				return call, call < each.Calls
			}
			for done.Load() < (call+1)*each.Every {
				select {
				case <-over:
					return 0, false
				case <-time.After(100 * time.Microsecond):
				}
			}
			return call, true
		}
		for range each.Connections {
			all.Add(1)
			if each.Every == 0 {
				first.Add(1)
			}
			go func() {
				defer all.Done()
				if each.Every == 0 {
					defer first.Done()
				}
				answered := func() {
					if each.Every == 0 {
						done.Add(1)
					}
				}
				call(given.Address, each, &tallies[number], next, answered)
			}()
		}
	}
	first.Wait()
	seconds := time.Since(began).Seconds()
	close(over)
	all.Wait()
	outcomes := map[string]outcome{}
	for number := range given.Groups {
		outcomes[given.Groups[number].Name] = tallies[number].sum(seconds)
	}
	if err := json.NewEncoder(os.Stdout).Encode(outcomes); err != nil {
		log.Fatal(err)
	}
}

func call(address string, each *group, into *tally, next func() (int64, bool), answered func()) {
	var times []time.Duration
	wrong, problem := 0, ""
	connection, err := net.Dial("tcp", address)
	if err != nil {
		problem = err.Error()
		wrong++
	} else {
		defer connection.Close()
		reader := bufio.NewReaderSize(connection, 32*1024)
		request := []byte{}
		for number, ok := next(); ok; number, ok = next() {
			value := ""
			if len(each.Values) > 0 {
				value = each.Values[int(number)%len(each.Values)]
			}
			request = append(append(append(request[:0], each.Before...), value...), each.After...)
			started := time.Now()
			if _, err = connection.Write(request); err == nil {
				err = read(reader, each.Reply)
			}
			if err != nil {
				wrong++
				problem = err.Error()
				break
			}
			times = append(times, time.Since(started))
			answered()
		}
	}
	into.Lock()
	defer into.Unlock()
	into.times = append(into.times, times...)
	into.wrong += wrong
	if problem != "" {
		into.problem = problem
	}
}

func read(reader *bufio.Reader, expected int) error {
	status, err := reader.ReadString('\n')
	if err != nil {
		return err
	}
	length := -1
	for {
		line, err := reader.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) <= 2 {
			break
		}
		name, value, _ := strings.Cut(string(line), ":")
		switch {
		case strings.EqualFold(name, "content-length"):
			if length, err = strconv.Atoi(strings.TrimSpace(value)); err != nil {
				return err
			}
		case strings.EqualFold(name, "transfer-encoding") && strings.TrimSpace(value) == "chunked":
			length = inChunks
		}
	}
	isGood := strings.HasPrefix(status, "HTTP/1.1 200")
	if isGood && length >= 0 && (expected == 0 || length == expected) {
		_, err = reader.Discard(length)
		return err
	}
	body, err := readBody(reader, length)
	if err != nil {
		return err
	}
	if !isGood {
		return fmt.Errorf("%s: %.200s", strings.TrimSpace(status), body)
	}
	if expected != 0 && len(body) != expected {
		return fmt.Errorf("a reply of %d bytes, not %d", len(body), expected)
	}
	return nil
}

const inChunks = -2

func readBody(reader *bufio.Reader, length int) ([]byte, error) {
	switch {
	case length >= 0:
		body := make([]byte, length)
		_, err := io.ReadFull(reader, body)
		return body, err
	case length == inChunks:
		body, err := io.ReadAll(httputil.NewChunkedReader(reader))
		if err == nil {
			// The empty line behind the last chunk; trailers would make the next reply one that is none.
			_, err = reader.ReadSlice('\n')
		}
		return body, err
	default:
		return nil, fmt.Errorf("a reply without its length")
	}
}

func (t *tally) sum(seconds float64) outcome {
	slices.Sort(t.times)
	result := outcome{Calls: len(t.times), Wrong: t.wrong, Problem: t.problem, Seconds: seconds}
	at := func(share float64) float64 {
		if len(t.times) == 0 {
			return 0
		}
		return t.times[min(len(t.times)-1, int(share*float64(len(t.times))))].Seconds()
	}
	result.P50, result.P99, result.P999 = at(0.5), at(0.99), at(0.999)
	return result
}
