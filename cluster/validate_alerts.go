package cluster

import (
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

var (
	emailSyntax  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.!#$%&'*+/=?^_{|}~-]*@(\S+)$`)
	repeatSyntax = regexp.MustCompile(`^(0|[1-9][0-9]{0,4}[mhd])$`)
	chatSyntax   = regexp.MustCompile(`^(-?[0-9]{1,20}|@[A-Za-z0-9_]{5,32})$`)
)

// tokenHosts are those whose webhooks' addresses are nothing but tokens.
var tokenHosts = regexp.MustCompile(`(?i)^(hooks\.slack\.com|api\.telegram\.org|discord(app)?\.com|[a-z0-9.-]*\.webhook\.office\.com)$`)

// alerts never repeats the webhook: its address often is its own password.
func alerts(k *checker) {
	a := k.Alerts
	webhook(k)
	for i, e := range a.Email {
		if !isEmail(e) {
			k.say(fmt.Sprintf("alerts.email[%d]", i), "such as dba@example.org", "%s is no e-mail address", brief(e))
		}
	}
	switch host, port, err := net.SplitHostPort(a.Relay); {
	case a.Relay == "" && len(a.Email) > 0 && k.sound("alerts.relay"):
		k.say("alerts.email", "alerts.relay: mail.example.org:25", "no letter is sent without a relay")
	case k.given("alerts.relay") && (err != nil || !dnsName(host) || !isPort(port)):
		k.say("alerts.relay", "such as mail.example.org:25", "%s is no host and port", brief(a.Relay))
	case k.given("alerts.relay") && len(a.Email) == 0 && k.sound("alerts.email"):
		k.say("alerts.relay", "alerts.email: [dba@example.org]", "a relay, and nobody to write to")
	}
	if k.given("alerts.from") && !isEmail(a.From) {
		k.say("alerts.from", "such as pgha@example.org", "%s is no e-mail address", brief(a.From))
	}
	if k.given("alerts.command") && k.sound("alerts.command[]") && (len(a.Command) == 0 || !folderPath.MatchString(a.Command[0])) {
		k.say("alerts.command", "such as [/usr/local/bin/page, --team, dba]; it is no shell's line", "it does not begin with a program's absolute path")
	}
	if !repeatSyntax.MatchString(a.Repeat) {
		k.say("alerts.repeat", "such as 30m, 4h or 1d; 0 is never", "%s is no number of minutes, hours or days", brief(a.Repeat))
	}
}

func webhook(k *checker) {
	const key = "alerts.webhook"
	a := k.Alerts
	if k.given(key) && a.Webhook != SecretWebhook {
		u, err := url.Parse(a.Webhook)
		switch {
		case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || strings.ContainsAny(a.Webhook, " \t\n"):
			k.say(key, "such as https://alerts.example.org/hook", "not an http or https address")
		case u.User != nil || u.RawQuery != "" || tokenHosts.MatchString(u.Hostname()):
			k.say(key, "write secret here, and the address into secrets/secrets.yaml, as webhook: https://…",
				"the address holds a token, and every machine of the network can read this file")
		}
	}
	switch {
	case a.Format == Telegram && !k.given(key) && k.sound(key):
		k.say("alerts.format", "alerts.webhook: secret", "there is no webhook to give a format to")
	case (a.Format == Telegram || k.given("alerts.chat")) && !chatSyntax.MatchString(a.Chat):
		k.say("alerts.chat", "such as \"-1001234567890\" or \"@channel\", in quotes", "Telegram needs the chat that its bot writes to")
	}
}

func isEmail(s string) bool {
	m := emailSyntax.FindStringSubmatch(s)
	return m != nil && dnsName(m[1])
}

func isPort(s string) bool {
	n, err := strconv.Atoi(s)
	return err == nil && n > 0 && n < 65536
}

// Wanted tells whether anybody is to hear of alerts.
func (a Alerts) Wanted() bool { return a.Webhook != "" || len(a.Email) > 0 || len(a.Command) > 0 }

// RepeatAfter is Repeat as a duration; 0 is never.
func (a Alerts) RepeatAfter() time.Duration {
	if len(a.Repeat) < 2 {
		return 0
	}
	n := time.Duration(atoi(a.Repeat[:len(a.Repeat)-1]))
	switch a.Repeat[len(a.Repeat)-1] {
	case 'm':
		return n * time.Minute
	case 'd':
		return n * 24 * time.Hour
	}
	return n * time.Hour
}

// Sender is the letters' sender.
func (a Alerts) Sender() string {
	if a.From == "" && len(a.Email) > 0 {
		return a.Email[0]
	}
	return a.From
}
