package server_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"io"
	"net/http"
)

// tell calls a system interface of a module: first the filter, with the headers
// of whoever asked but without a token, then the module with the token it gave.
func (o *okapi) tell(tenant string, filter *okapiModule, module okapiModule, method, path string, body any, header ...string) (int, http.Header, []byte) {
	o.t.Helper()
	text := []byte{}
	if body != nil {
		text, _ = json.Marshal(body)
	}
	h := http.Header{"X-Okapi-Url": {o.url}, "X-Okapi-Tenant": {tenant}, "X-Okapi-Request-Id": {"000001/proxy;000002/tenant"}, "Accept": {"*/*"}, "Content-Type": {"application/json; charset=UTF-8"}}
	for i := 0; i+1 < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	send := func(base string, h http.Header, text []byte) *http.Response {
		out, err := http.NewRequest(method, base+path, bytes.NewReader(text))
		if err != nil {
			o.t.Fatal(err)
		}
		out.Header = h
		res, err := o.client.Do(out)
		if err != nil {
			o.t.Fatal(err)
		}
		return res
	}
	if filter != nil {
		asked := h.Clone()
		asked.Set("X-Okapi-Filter", "auth")
		asked.Set("X-Okapi-Module-Permissions", "{}")
		asked.Set("X-Okapi-Url-To", filter.url)
		res := send(filter.url, asked, nil)
		res.Body.Close()
		if res.StatusCode != 202 {
			o.t.Fatalf("the filter answered %d to %s %s", res.StatusCode, method, path)
		}
		var tokens map[string]string
		_ = json.Unmarshal([]byte(res.Header.Get("X-Okapi-Module-Tokens")), &tokens)
		h.Set("X-Okapi-Token", cmp.Or(tokens[module.descriptor.ID], res.Header.Get("X-Okapi-Token")))
		h.Set("X-Okapi-Permissions", res.Header.Get("X-Okapi-Permissions"))
	}
	res := send(module.url, h, text)
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err != nil {
		o.t.Fatal(err)
	}
	return res.StatusCode, res.Header, got
}
