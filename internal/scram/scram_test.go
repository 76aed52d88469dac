package scram

import (
	"encoding/base64"
	"strings"
	"testing"
)

// What PostgreSQL 15 itself made of these passwords (CREATE ROLE … PASSWORD, then pg_authid.rolpassword).
func TestAsPostgreSQL(t *testing.T) {
	for password, want := range postgresMade {
		got, err := Verifier(password, want)
		if err != nil || got != want {
			t.Errorf("%q: %s, %v; PostgreSQL made %s", password, got, err, want)
		}
	}
}

func TestVerifier(t *testing.T) {
	one, err := Verifier("secret", "")
	if err != nil {
		t.Fatal(err)
	}
	if again, err := Verifier("secret", one); err != nil || again != one {
		t.Errorf("the same password: %s, then %s, %v", one, again, err)
	}
	salts := map[string]bool{}
	for _, old := range []string{"", "secret", "SCRAM-SHA-256$4096:AAAA$x:y", strings.Replace(one, "$4096:", "$1:", 1), one[:len(one)-4] + "AAA="} {
		other, err := Verifier("secret", old)
		if err != nil || other == old || other == one {
			t.Errorf("%q: %s, %v", old, other, err)
		}
		salts[form.FindStringSubmatch(other)[2]] = true
	}
	if len(salts) != 5 {
		t.Errorf("salts came twice: %v", salts)
	}
	for salt := range salts {
		if raw, err := base64.StdEncoding.DecodeString(salt); err != nil || len(raw) != saltSize {
			t.Errorf("salt %s: %d bytes, %v", salt, len(raw), err)
		}
	}
	if changed, err := Verifier("another", one); err != nil || changed == one {
		t.Errorf("another password: %s, %v", changed, err)
	}
	if kept, err := Verifier(one, "anything"); err != nil || kept != one {
		t.Errorf("what PostgreSQL keeps, given as a password: %s, %v", kept, err)
	}
}

var postgresMade = map[string]string{
	"secret":                               "SCRAM-SHA-256$4096:y5JLOFGolRLV755zbEdeag==$dhIzw4UZdbQYgssLh6ILjl7rviFy0lP4NKET301yT0Y=:hF0LrpDExyx9ucsucPCLybM1Tqugg/QkrwquJzNFhEM=",
	"\u043f\u0430\u0440\u043e\u043b\u044c": "SCRAM-SHA-256$4096:CiPwUbyTF/X/FRd3yn1cmA==$kkoHDAID+hbMyC6XpNjCSrSexyRxWOV6I8PkXM858ok=:5bswW2fVxmgq5Gz/dAKMCR6itHLYXAEJukRUkptOjKo=",
	"\ufb01 \u2167":                        "SCRAM-SHA-256$4096:qAhFO9W6F49OfIWysJseNQ==$aW8npB/Z1JanfVNO7gknXiSX+Y1U0TvGaBnVy08p2Gw=:u8RxQiq7nmXyhBPpQFd6GaSYGDvsGY48Keo/LxOfsZc=",
	"a\u00a0b":                             "SCRAM-SHA-256$4096:+IToMiievG9rx3X8PfugYQ==$whdwRYc2Ai9qihpWe9sR6TlYWiWWTVkOKPazapagU80=:8WDxIK/fUQoedF8O+po4y8urEYHyQDTY2vBmeFDB8qU=",
	"ab\u00adc":                            "SCRAM-SHA-256$4096:LajTwHJRNKbpsZjJdJBQCw==$+it/vovaZdibsIgpNA1d0c2Uyl2XoEUaIDjqEatv92M=:22z1iNhXP/AhC9UBzuhoGYVUP5MdNbDTODIMRYTv3oA=",
	"a\u0001b":                             "SCRAM-SHA-256$4096:MPfQ1RF7FlDqQRJ1UlnH1Q==$u7dDTikoe4ODKVfc2GHHRSxYa1W8e19tGZZ3mUwo+a0=:g/CjycicVV3G3fiTxswbmofHRuRKBYMjQ0F4d/Jft+o=",
	"\u00e9":                               "SCRAM-SHA-256$4096:wCR+kcQzXhMXBmDB+LPtMA==$xL1NAyMMEU1GtSkiwvATDV5f97NbTdPimQBA7dEaYcU=:P/XqAK92XInkCmNMyHVLSKDmJPcVUBajZvW2E6uC0hk=",
	"e\u0301":                              "SCRAM-SHA-256$4096:o8Y9LTcr3MiPB5Tm0e039Q==$AqMkR5YcKXjzXJVrpnZfjIEwFWYaiCdEsR8T2UhdLtc=:PPHZHpddehCN2qVpaXvLMq8TB3GtUhV4CGWfH2phRl0=",
	"x\u06271":                             "SCRAM-SHA-256$4096:3e5DkM+Go0BKvqBmq4aw1Q==$6ipbt0pG+OuM3ClyVDr27kJPNUSDOQhusvffWaJP3rU=:wLYB7guMf/9oeLXCnyEtVwyDWQYjzk4ho4qGR9gY2vg=",
	"a\U0001f600":                          "SCRAM-SHA-256$4096:zHt2ucZSxcshGMizUnYuxg==$4QHQ+V/u8uVnSJCSjaUz7ZA78UKcRNlG+wUvGVpeSG0=:kZXTI84kR6JdijX/0y4Mm5F35/xOwRtJ0LApBN3C2Y0=",
	"\u00aa":                               "SCRAM-SHA-256$4096:iZT5qxwIz0wGzC+ycQDB0g==$hg8K3yY2g941Ah9ngChN00JGiQ9G1yxP320/TNCn8f4=:FgvtMKr69IT59+QwvhNBVTGwuxMqHgAE5eeIPOgMe1g=",
	"'quote\\ back":                        "SCRAM-SHA-256$4096:bn2pmTrsbb8z+LRoAnZIMw==$UUV1GMcTRdAhPahuwyvM1+A9XYIxp+dWYJ4DALhmLuY=:1mB2sPSfUKEvlakBzSLXLL4nj26hC/xRFlWm01pZOQs=",
}
