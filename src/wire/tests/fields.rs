//! Every field of every type, and the spellings that it takes.

use super::*;

/// `(type, member text, what is stored or hidden of it)`; hidden values show their length.
const FIELDS: &[(&str, &str, &str)] = &[
    (LICENSE, r#""session_id":"s-1""#, "raw license.session_id 3"),
    (LICENSE, r#""license":{"session_id":"s-1"}"#, "raw license.session_id 3"),
    (LICENSE, r#""license":{"request_id":"r"}"#, "raw license.request_id 1"),
    (LICENSE, r#""license":{"duration_s":60}"#, "license.duration_s 60"),
    (LICENSE, r#""license":{"expires_at":"1795320960"}"#, "license.expires_at 1795320960000"),
    (LICENSE, r#""license":{"expires_at":0}"#, ""),
    (LICENSE, r#""license":{"expires_at":-1}"#, ""),
    (LICENSE, r#""license":{"expires_at":9223372036854775807}"#, ""),
    (LICENSE, r#""license":{"expires_at":"0"}"#, ""),
    (LICENSE, r#""license":{"expires_at":""}"#, ""),
    (LICENSE, r#""license":{"expires_at":"Never"}"#, ""),
    (LICENSE, r#""license":{"expires_at":"0001-01-01T00:00:00Z"}"#, ""),
    (
        LICENSE,
        r#""license":{"ro_start":"20261122041600","ro_end":"20261222041600","ro_cnt":3}"#,
        "license.starts_at 1795320960000, license.expires_at 1797912960000, license.plays 3",
    ),
    (LICENSE, r#""license":{"rental_s":1}"#, "license.rental_s 1"),
    (LICENSE, r#""license":{"playback_s":-1}"#, "license.playback_s -1"),
    (LICENSE, r#""license":{"allowed_tracks":"SD_HD"}"#, "license.allowed_tracks SD_HD"),
    (LICENSE, r#""order_id":"o""#, "raw order_id 1"),
    (LICENSE, r#""latency_ms":12"#, "latency_ms 12"),
    (LICENSE, r#""client_ip":"10.0.0.1""#, ""),
    (LICENSE, r#""user_agent":"Mozilla""#, ""),
    (LICENSE, r#""error_message":"free text""#, ""),
    (LICENSE, r#""error_message":{"code":8002},"user_agent":["x"],"client_ip":7"#, ""),
    (LICENSE, r#""drm":{"security_level":"L1"}"#, "drm.security_level L1"),
    (LICENSE, r#""drm":{"security_level":3000}"#, "drm.security_level 3000"),
    (LICENSE, r#""drm":{"cdm_version":"16.1"}"#, "drm.cdm_version 16.1"),
    (LICENSE, r#""drm":{"system_id":"4464"}"#, "drm.system_id 4464"),
    (LICENSE, r#""system_id":4464"#, "drm.system_id 4464"),
    (LICENSE, r#""vmp_status":"x""#, "drm.vmp_status x"),
    (LICENSE, r#""drm":{"hdcp":"2.2"}"#, "drm.hdcp 2.2"),
    (LICENSE, r#""device":{"make":"Acme"}"#, "device.make Acme"),
    (LICENSE, r#""device":{"make":"  Acme "}"#, "device.make Acme"),
    (LICENSE, r#""device":{"model":"A1"}"#, "device.model A1"),
    (LICENSE, r#""device":{"os_version":15.1}"#, "device.os_version 15.1"),
    (LICENSE, r#""device":{"os":"android"}"#, "device.os android"),
    (LICENSE, r#""device":{"os_version":"15"}"#, "device.os_version 15"),
    (LICENSE, r#""device":{"platform":"tv"}"#, "device.platform tv"),
    (LICENSE, r#""cid_encoding":"base64""#, "cid_encoding base64"),
    (LICENSE, r#""license":null,"device":null,"drm":null,"latency_ms":null"#, ""),
    (PACKAGED, r#""job_id":81"#, "job_id 81"),
    (PACKAGED, r#""job_name":"holiday of Kim""#, ""),
    (PACKAGED, r#""packager":"cli","packager_version":"1.2""#, "packager cli, version 1.2"),
    (PACKAGED, r#""formats":["dash","hls"]"#, "formats dash, formats hls"),
    (PACKAGED, r#""drm_types":["Widevine","FPS"]"#, "drm_types widevine, drm_types fairplay"),
    (PACKAGED, r#""encryption":"cbcs""#, "encryption cbcs"),
    (PACKAGED, r#""multi_key":true"#, "multi_key 1"),
    (PACKAGED, r#""track_types":["AUDIO","UHD2"]"#, "track_types AUDIO, track_types UHD2"),
    (
        PACKAGED,
        r#""kids":["0192f0c1-0000-4000-8000-000000000001"]"#,
        "kids 0192f0c1-0000-4000-8000-000000000001",
    ),
    (PACKAGED, r#""key_period_index":0"#, "key_period_index 0"),
    (
        PACKAGED,
        r#""started_at":1795320960,"finished_at":1795320960001"#,
        "started_at 1795320960000, finished_at 1795320960001",
    ),
    (PACKAGED, r#""operator_id":"kim""#, "raw operator_id 3"),
    (PACKAGED, r#""output_path":"/home/kim","input_path":"/x""#, ""),
    (SESSION, r#""wm_session_id":"w""#, "raw wm_session_id 1"),
    (SESSION, r#""streaming_format":"DASH""#, "streaming_format dash"),
    (SESSION, r#""cdn":"CloudFront""#, "cdn cloudfront"),
    (SESSION, r#""wmt_type":"aes""#, "wmt_type aes"),
    (SESSION, r#""forensic_mark":"kim""#, "raw forensic_mark 3"),
    (SESSION, r#""payload":"0a1b","payload_encoding":"hex""#, "raw payload 4"),
    (SESSION, r#""payload":12345"#, "raw payload 5"),
    (
        SESSION,
        r#""wmvnd":1,"wmopid":2,"wmkeyver":3,"wmpatlen":48"#,
        "wmvnd 1, wmopid 2, wmkeyver 3, wmpatlen 48",
    ),
    (SESSION, r#""wmid":"abc""#, "raw wmid 3"),
    (SESSION, r#""wmver":1,"wmpattern":"q83v","wmsegduration":[2,1]"#, "raw payload 4, wmver 1"),
    (
        SESSION,
        r#""300":1,"301":7,"302":48,"303":[2,1],"304":"0a","305":"x","306":9,"307":3"#,
        "raw payload 2, raw wmid 1, wmver 1, wmvnd 7, wmpatlen 48, wmopid 9, wmkeyver 3",
    ),
    (
        SESSION,
        r#""wmidtyp":1,"wmidfmt":"ab","wmidkeyver":2,"segduration":2"#,
        "mode indirect, wmkeyver 2",
    ),
    (SESSION, r#""wmidtyp":"0""#, "mode direct"),
    (SESSION, r#""mode":"indirect""#, "mode indirect"),
    (SESSION, r#""expires_at":"2026-11-22T04:16:00Z""#, "expires_at 1795320960000"),
    (SESSION, r#""skip_bit":2,"revocable":false"#, "skip_bit 2, revocable 0"),
    (SESSION, r#""skip_bit":true"#, "skip_bit 1"),
    (SESSION, r#""domain":"cdn.example""#, "domain cdn.example"),
    (SESSION, r#""domain":"https://kim@CDN.example/kim?x""#, "domain cdn.example"),
    (SESSION, r#""output_path":"/home/kim""#, ""),
    (WM_PACKAGED, r#""job_id":"j","job_name":"n""#, "job_id j"),
    (
        WM_PACKAGED,
        r#""kind":"distributor","variants":2,"drm":true"#,
        "kind distributor, variants 2, drm 1",
    ),
    (
        WM_PACKAGED,
        r#""formats":["hls_ncg"],"region":"ap-northeast-2""#,
        "formats hls_ncg, region ap-northeast-2",
    ),
    (
        WM_PACKAGED,
        r#""status":"WM022001","vendor_status":"WM022001""#,
        "status watermarking, vendor_status WM022001",
    ),
    (WM_PACKAGED, r#""status":"complete""#, "status complete"),
    (
        WM_PACKAGED,
        r#""registered_at":1795320960,"started_at":1795320960"#,
        "registered_at 1795320960000, started_at 1795320960000",
    ),
    (
        WM_PACKAGED,
        r#""updated_at":1795320960,"finished_at":1795320960"#,
        "updated_at 1795320960000, finished_at 1795320960000",
    ),
    (WM_PACKAGED, r#""input_path":"/home/kim","output_path":"/x""#, ""),
    (WM_PACKAGED, r#""strength":"high""#, "strength high"),
    (
        WM_PACKAGED,
        r#""source":{"duration_s":1.5e1,"height":1080,"codec":"avc"}"#,
        "source.duration_s 1.5e1, source.height 1080, source.codec avc",
    ),
    (
        WM_PACKAGED,
        r#""recipient_id":"a","distributor_id":"bb","dwm_id":7"#,
        "raw recipient_id 1, raw distributor_id 2, raw dwm_id 1",
    ),
    (DETECTED, r#""detection_id":5,"status":"FD004""#, "detection_id 5, status completed"),
    (DETECTED, r#""status":"not_found""#, "status not_found"),
    (
        DETECTED,
        r#""method":"single-frame","detector":"d","version":"2""#,
        "method single-frame, detector d, version 2",
    ),
    (DETECTED, r#""title":"The film of Kim","source_url":"https://x/kim""#, ""),
    (
        DETECTED,
        r#""payload":"abcdefg","forensic_mark":"m","watermark_token":"tttt""#,
        "raw payload 7, raw forensic_mark 1, raw watermark_token 4",
    ),
    (DETECTED, r#""matched_session":true"#, "matched_session 1"),
    (DETECTED, r#""matched_session":"ref-1""#, "raw matched_session_id 5"),
    (
        DETECTED,
        r#""confidence":0.97,"bits_recovered":40,"bits_total":56"#,
        "confidence 0.97, bits_recovered 40, bits_total 56",
    ),
    (
        DETECTED,
        r#""segments_analysed":9,"duration_s":301.5,"resolution":"1280x720""#,
        "segments_analysed 9, duration_s 301.5, resolution 1280x720",
    ),
    (DETECTED, r#""from_offset":0,"to_offset":9.5"#, "from_offset 0, to_offset 9.5"),
    (
        DETECTED,
        r#""source_kind":"live","source_host":"pirate.example""#,
        "source_kind live, source_host pirate.example",
    ),
    (
        DETECTED,
        r#""requested_at":1795320960,"completed_at":1795320960"#,
        "requested_at 1795320960000, completed_at 1795320960000",
    ),
    (
        DETECTED,
        r#""source_host":"https://u:p@pirate.example/watch?viewer=81231""#,
        "source_host pirate.example",
    ),
    (DETECTED, r#""action":"revoked","evidence_hold":true"#, "action revoked, evidence_hold 1"),
];

#[test]
fn each_field_is_kept_hidden_or_dropped() {
    for (kind, member, want) in FIELDS {
        let record = taken(&record(kind, member));
        let raw = record.raw.iter().map(|(name, length)| format!("raw {name} {length}"));
        let kept = record.stored.iter().map(|(name, value)| format!("{name} {value}"));
        let found: Vec<String> = raw.chain(kept).collect();
        assert_eq!(found.join(", "), *want, "{member}");
    }
}

#[test]
fn each_member_of_each_table_is_in_the_list_above() {
    use crate::wire::schema::{ENVELOPE, Room, Schemas};
    let kinds = [LICENSE, PACKAGED, SESSION, WM_PACKAGED, DETECTED];
    let in_envelope = |name: &str| ENVELOPE.iter().any(|member| member.name == name);
    for kind in kinds {
        let room = Room::of(crate::model::vocab::RecordType::from_name(kind.as_bytes()).unwrap());
        for name in Schemas::get().table(room).names() {
            let quoted = format!("\"{name}\":");
            let listed = FIELDS.iter().any(|(k, member, _)| *k == kind && member.contains(&quoted));
            // These are parts of the record itself and tested below.
            let own = matches!(
                name,
                "user_id"
                    | "user_id_kind"
                    | "device"
                    | "drm_type"
                    | "request_type"
                    | "license_type"
                    | "persistent"
                    | "payload_encoding"
                    | "version"
                    | "hdcp"
            );
            assert!(listed || own || in_envelope(name), "{kind} {name}");
        }
    }
}

#[test]
fn the_record_of_the_contract() {
    let record = taken(
        r#"{"event_id":"0192f0c1-1","type":"drm.license.issued","site_id":"ACME",
         "occurred_at":"2026-11-22T04:16:00Z","producer":"license-server",
         "environment":"production","outcome":"success","user_id":"viewer-81231","cid":"movie-1",
         "drm_type":"widevine","request_type":"new","license_type":"streaming",
         "device":{"ids":[{"kind":"android_id","value":"a1b2c3d4e5f60718"},
          {"kind":"playready_client_id","value":"snYe","encoding":"guid_le"}],"recommended":1,
          "make":"m","model":"A","os":"android","os_version":"15","platform":"mobile"}}"#
            .replace('\n', " ")
            .as_str(),
    );
    assert_eq!(
        (&*record.event_id, &*record.kind, &*record.site_id),
        ("0192f0c1-1", LICENSE, "ACME")
    );
    assert_eq!(record.at, 1_795_320_960_000);
    assert_eq!(record.producer.as_deref(), Some("license-server"));
    assert_eq!((record.user, record.cid.as_deref()), (Some(12), Some("movie-1")));
    let words = ["success", "widevine", "new", "streaming", "production"];
    assert_eq!(record.words, words);
    assert_eq!(record.devices[0], ("android_id".to_owned(), 16, None));
    assert_eq!(record.devices[1].2.as_deref(), Some("guid_le"));
    assert_eq!((record.recommended, record.desktop), (Some(1), false));
}

#[test]
fn spellings_of_the_envelope() {
    let words = |more: &str| taken(&record(LICENSE, more)).words.join(" ");
    assert_eq!(words(r#""drm_type":"WIDEVINE_MODULAR""#), "success widevine production");
    assert_eq!(words(r#""request_type":"RENEWAL""#), "success renewal production");
    assert_eq!(words(r#""persistent":true"#), "success offline production");
    assert_eq!(
        words(r#""persistent":true,"license_type":"streaming""#),
        "success offline production"
    );
    assert_eq!(
        words(r#""license_type":"streaming","persistent":true"#),
        "success offline production"
    );
    assert_eq!(words(r#""license":{"persistent":true}"#), "success offline production");
    assert_eq!(words(r#""persistent":false"#), "success production");
    assert_eq!(words(r#""user_id_kind":"device""#), "success device production");
    assert_eq!(words(r#""environment":"trial""#), "success trial");
    assert_eq!(words(r#""environment":null"#), "success production");
    let class = words(r#""error_code":"7011","error_class":"token""#);
    assert_eq!(class, "success token production 7011");
    assert_eq!(words(r#""schema":1,"error_message":"x""#), "success production");
    let outcome = record(PACKAGED, r#""outcome":"FD006""#);
    assert_eq!(taken(&outcome).words.join(" "), "fail production");
}

#[test]
fn times_in_every_spelling() {
    for at in [
        r#""2026-11-22T04:16:00Z""#,
        r#""2026-11-22T13:16:00.000+09:00""#,
        r#""20261122041600""#,
        r#""1795320960""#,
        "1795320960",
        "1795320960000",
    ] {
        let line = record(LICENSE, "").replace("1795320960", at);
        assert_eq!(taken(&line).at, 1_795_320_960_000, "{at}");
    }
}

#[test]
fn desktops_are_told() {
    for (device, want) in [
        (r#""os":"Windows""#, true),
        (r#""platform":"macos""#, true),
        (r#""os":"ChromeOS""#, true),
        (r#""model":"ChromeCDM-Windows-x86-64""#, true),
        (r#""os":"android","model":"A1""#, false),
    ] {
        let line = record(LICENSE, &format!(r#""device":{{{device}}}"#));
        assert_eq!(taken(&line).desktop, want, "{device}");
    }
}

#[test]
fn a_recommended_device_that_is_not_there_is_none() {
    for index in ["2", "-1", "999", "99999999999999999999"] {
        let device =
            format!(r#""device":{{"recommended":{index},"ids":[{{"kind":"opaque","value":""}}]}}"#);
        assert_eq!(taken(&record(LICENSE, &device)).recommended, None);
    }
}

#[test]
fn escapes_are_undone_in_place_also_in_names() {
    let line =
        record(LICENSE, r#""user\u005fid":"a\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00","cid":"é\u0041""#);
    let record = taken(&line.replace("e-1", "e\\u002d1"));
    assert_eq!(record.user, Some("a\"\\/\u{8}\u{c}\n\r\t\u{e9}\u{1f600}".len()));
    assert_eq!(record.cid.as_deref(), Some("\u{e9}A"));
    assert_eq!(record.event_id, "e-1");
}

#[test]
fn the_order_of_members_does_not_matter() {
    let parts = [
        r#""event_id":"e""#,
        r#""occurred_at":1795320960"#,
        r#""type":"watermark.session.created""#,
        r#""site_id":"A""#,
        r#""payload":"p""#,
        r#""device":{"ids":[{"value":"v","kind":"opaque"}]}"#,
    ];
    let joined =
        |order: [usize; 6], with: &str| format!("{{{}}}", order.map(|at| parts[at]).join(with));
    let lines = [
        joined([5, 3, 4, 0, 1, 2], ","),
        joined([4, 0, 5, 2, 1, 3], ",").replace("type", "ty\\u0070e"),
        joined([0, 1, 3, 2, 4, 5], " , ").replace("\":", "\" : "),
        joined([0, 2, 4, 3, 1, 5], ", ").replace("\":", "\": "),
    ];
    let mut decoder = Decoder::new(Limits::default());
    let want = decode(Media::NdJson, lines[0].as_bytes()).unwrap();
    assert!(matches!(want[0], Seen::Taken(_)), "{want:?}");
    for line in lines.iter().cycle().take(12) {
        assert_eq!(decode_with(&mut decoder, Media::NdJson, line.as_bytes()), Ok(want.clone()));
    }
}

#[test]
fn a_type_looked_for_ahead_is_the_records_own() {
    // A text and a nested name that look like the type stand before it.
    let more = r#""drm":true,"cid":"\"type\":\"x\"","status":"complete""#;
    let tail = r#""event_id":"e","site_id":"A","occurred_at":1795320960"#;
    let kind = r#""type":"watermark.content.packaged""#;
    assert_eq!(taken(&format!("{{{more},{tail},{kind}}}")).kind, WM_PACKAGED);
    let value = r#""region":"type","vendor_status":"type","drm":true"#;
    assert_eq!(taken(&format!("{{{value},{tail},{kind}}}")).kind, WM_PACKAGED);
    let nested = r#""drm":{"type":"drm.license.issued"}"#;
    assert!(matches!(
        decode(Media::NdJson, format!("{{{nested},{tail},{kind}}}").as_bytes()).unwrap()[0],
        Seen::Refused(_)
    ));
}

#[test]
fn a_content_id_is_decoded_where_the_record_says_so() {
    // The vector of reference/domain.md §7.4, in both orders of the members.
    for more in [
        r#""cid":"ZXhwNTY=","cid_encoding":"base64""#,
        r#""cid_encoding":"base64","cid":"ZXhwNTY""#,
    ] {
        let record = taken(&record(LICENSE, more));
        assert_eq!(record.cid.as_deref(), Some("exp56"));
        assert_eq!(record.stored, []);
    }
    let plain = taken(&record(LICENSE, r#""cid":"ZXhwNTY=","cid_encoding":"utf8""#));
    assert_eq!(plain.cid.as_deref(), Some("ZXhwNTY="));
    // Bytes that are no text stay as they came.
    let bytes = taken(&record(LICENSE, r#""cid":"/w==","cid_encoding":"base64""#));
    assert_eq!(bytes.cid.as_deref(), Some("/w=="));
    assert_eq!(bytes.stored, [("cid_encoding".to_owned(), "base64".to_owned())]);
    let long = "QUJD".repeat(66);
    let long = taken(&record(LICENSE, &format!(r#""cid":"{long}","cid_encoding":"base64""#)));
    assert_eq!(long.cid, Some("ABC".repeat(66)));
    for long in ["QUJD".repeat(67), "/w//".repeat(51)] {
        let more = format!(r#""cid":"{long}","cid_encoding":"base64""#);
        assert_eq!(refused(&record(LICENSE, &more)), "too_long /cid e-1");
    }
    let broken = r#""cid":"ZX!w","cid_encoding":"base64""#;
    assert_eq!(refused(&record(LICENSE, broken)), "bad_value /cid e-1");
}

#[test]
fn a_flaw_of_the_devices_description_costs_nothing() {
    let long = "\u{d55c}".repeat(40);
    for name in ["make", "model", "os", "os_version", "platform"] {
        let record = taken(&record(LICENSE, &format!(r#""device":{{"{name}":"{long}"}}"#)));
        assert_eq!(record.stored, [(format!("device.{name}"), "\u{d55c}".repeat(21))]);
    }
    for id in [r#"{"kind":"imei"}"#, r#"{"kind":"imei","value":null}"#] {
        let record = taken(&record(LICENSE, &format!(r#""device":{{"ids":[{id}]}}"#)));
        assert_eq!(record.devices, [("imei".to_owned(), 0, None)]);
    }
    let unknown = r#"{"kind":"playready_client_id","value":"BAMC","encoding":"base64"}"#;
    let record = taken(&record(LICENSE, &format!(r#""device":{{"ids":[{unknown}]}}"#)));
    assert_eq!(record.devices, [("playready_client_id".to_owned(), 4, None)]);
}

#[test]
fn ids_and_payloads_have_the_length_of_their_bytes() {
    let license = |text: &str| record(LICENSE, &format!(r#""license":{{"request_id":"{text}"}}"#));
    for text in ["A".repeat(64), "a1".repeat(64), format!("{}==", "A".repeat(86))] {
        taken(&license(&text));
    }
    for text in ["g!".repeat(33), "a1".repeat(65), format!("{}=", "A".repeat(87))] {
        assert_eq!(refused(&license(&text)), "too_long /license/request_id e-1", "{text}");
    }
    let payload = |encoding: &str, text: &str| {
        record(SESSION, &format!(r#""payload":"{text}","payload_encoding":"{encoding}""#))
    };
    for (encoding, length) in
        [("hex", 16_384), ("ascii", 8_192), ("base64", 10_924), ("uint", 154), ("ab", 60_000)]
    {
        taken(&payload(encoding, &"1".repeat(length)));
        if encoding != "ab" {
            let over = refused(&payload(encoding, &"1".repeat(length + 1)));
            assert_eq!(over, "too_long /payload e-1", "{encoding}");
        }
    }
    taken(&record(SESSION, &format!(r#""wmid":"{}""#, "x".repeat(200))));
    let token = format!(r#""watermark_token":"{}","payload_encoding":"hex""#, "0a".repeat(50));
    taken(&record(DETECTED, &token));
    let event = format!(
        r#"{{"specversion":"1.0","id":"e-1","source":"p","type":"{SESSION}","subject":"A",
            "time":"2026-11-22T04:16:00Z","data":{{"payload":"{}"}}}}"#,
        "x".repeat(9_000)
    );
    let seen = decode(Media::CloudEvent, event.as_bytes()).unwrap();
    assert_eq!(seen, [Seen::Refused("too_long /data/payload e-1".to_owned())]);
}
