// Makes the reference pages' JSON calls as a program with Go's net/http does, and prints what came back.
//
//	calls URL TOKEN DOMAIN
package main

import (
	"encoding/json"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
)

type outcome struct {
	Status      int             `json:"status"`
	ContentType string          `json:"contentType"`
	Body        json.RawMessage `json:"body"`
}

func call(method, url, payload string, headers map[string]string) outcome {
	request, err := http.NewRequest(method, url, strings.NewReader(payload))
	if err != nil {
		log.Fatal(err)
	}
	request.Header.Add("Accept", "application/json")
	for name, value := range headers {
		// Go takes the host from the request, not from its headers.
		if name == "Host" {
			request.Host = value
		} else {
			request.Header.Add(name, value)
		}
	}
	client := &http.Client{}
	response, err := client.Do(request)
	if err != nil {
		log.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		log.Fatal(err)
	}
	return outcome{response.StatusCode, response.Header.Get("Content-Type"), body}
}

func main() {
	url, token, domain := os.Args[1], "Bearer "+os.Args[2], os.Args[3]
	instances := url + "/system/v1/instances"
	me := url + "/admin/v1/instances/me"
	payload := `{
  "instanceName": "Acme",
  "firstOrgName": "Acme Sales",
  "customDomain": "` + domain + `",
  "ownerUserName": "ada",
  "ownerEmail": {
    "email": "ada@acme.example",
    "isEmailVerified": true
  },
  "ownerProfile": {
    "firstName": "Ada",
    "lastName": "Lovelace",
    "preferredLanguage": "de"
  },
  "ownerPassword": {
    "password": "Secr3t-enough!",
    "passwordChangeRequired": true
  },
  "defaultLanguage": "en"
}`
	contentType := "application/json"
	outcomes := map[string]outcome{
		"added":   call("POST", instances, payload, map[string]string{"Content-Type": contentType, "Authorization": token}),
		"read":    call("GET", me, "", map[string]string{"Authorization": token, "x-zitadel-instance-host": domain}),
		"byHost":  call("GET", me, "", map[string]string{"Authorization": token, "Host": domain}),
		"taken":   call("POST", instances, payload, map[string]string{"Content-Type": contentType, "Authorization": token}),
		"empty":   call("POST", instances, "{}", map[string]string{"Content-Type": contentType, "Authorization": token}),
		"refused": call("POST", instances, payload, map[string]string{"Content-Type": contentType, "Authorization": token + "x"}),
	}
	if err := json.NewEncoder(os.Stdout).Encode(outcomes); err != nil {
		log.Fatal(err)
	}
}
