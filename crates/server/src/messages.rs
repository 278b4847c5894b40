//! The words of the pages, in each language. A language is a value of [`Messages`], so none can
//! lack a word.
//!
//! To add one: a file beside `en.rs`, a variant of [`Lang`], and what the compiler then asks for.

pub(crate) mod console;
mod en;
mod ja;
pub(crate) mod letters;

/// A language of the pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lang {
    /// English.
    En,
    /// Japanese.
    Ja,
}

/// Words that are different for one of something.
#[derive(Debug)]
pub(crate) struct Counted {
    pub(crate) one: &'static str,
    /// With `{n}`, as every language has it for none and for many.
    pub(crate) many: &'static str,
}

impl Counted {
    /// The words for so many.
    pub(crate) fn of(&self, count: u64) -> String {
        match count {
            1 => self.one.to_owned(),
            count => self.many.replace("{n}", &count.to_string()),
        }
    }
}

/// What the pages say. A pair stands around something that is named.
#[derive(Debug)]
pub(crate) struct Messages {
    pub(crate) sign_in: &'static str,
    /// Around the name of the client.
    pub(crate) to_continue_to: (&'static str, &'static str),
    /// Around what a client calls itself that is known by its address alone.
    pub(crate) calls_itself: (&'static str, &'static str),
    pub(crate) username: &'static str,
    pub(crate) password: &'static str,
    pub(crate) show_password: &'static str,
    pub(crate) hide_password: &'static str,
    pub(crate) privacy_policy: &'static str,
    pub(crate) terms: &'static str,
    pub(crate) wrong_credentials: &'static str,
    pub(crate) too_many_attempts: &'static str,
    pub(crate) far_too_many_attempts: &'static str,
    pub(crate) busy: &'static str,
    pub(crate) form_expired: &'static str,

    pub(crate) second_factor: &'static str,
    pub(crate) second_factor_lead: &'static str,
    pub(crate) code: &'static str,
    pub(crate) wrong_code: &'static str,
    pub(crate) sign_in_over: &'static str,
    pub(crate) sign_in_by_passkey: &'static str,
    pub(crate) use_passkey: &'static str,
    pub(crate) second_factor_or_passkey: &'static str,
    pub(crate) passkey_failed: &'static str,
    pub(crate) passkey_refused: &'static str,
    pub(crate) passkey_known: &'static str,
    pub(crate) enrol: &'static str,
    pub(crate) enrol_lead: &'static str,
    pub(crate) enrol_app: &'static str,
    pub(crate) last_factor: &'static str,

    pub(crate) security: &'static str,
    pub(crate) authenticator_app: &'static str,
    pub(crate) app_is_on_since: &'static str,
    pub(crate) app_is_off: &'static str,
    pub(crate) passkey: &'static str,
    pub(crate) passkeys: &'static str,
    pub(crate) no_passkeys: &'static str,
    pub(crate) passkey_since: &'static str,
    pub(crate) add_passkey: &'static str,
    pub(crate) passkey_lead: &'static str,
    pub(crate) passkey_name: &'static str,
    pub(crate) create_passkey: &'static str,
    pub(crate) too_many_passkeys: &'static str,
    pub(crate) remove: &'static str,
    pub(crate) recovery_codes: &'static str,
    /// Around their number.
    pub(crate) codes_left: (&'static str, &'static str),
    pub(crate) prove_first: &'static str,
    pub(crate) prove_by_mail: &'static str,
    pub(crate) prove_to_allow: &'static str,
    pub(crate) wrong_password: &'static str,
    pub(crate) set_up_app: &'static str,
    pub(crate) replace_app: &'static str,
    pub(crate) turn_off_app: &'static str,
    pub(crate) new_codes: &'static str,
    pub(crate) scan: &'static str,
    pub(crate) qr_code: &'static str,
    pub(crate) or_type: &'static str,
    pub(crate) open_app: &'static str,
    pub(crate) then_type_code: &'static str,
    pub(crate) app_code_differs: &'static str,
    pub(crate) turn_on: &'static str,
    pub(crate) cancel: &'static str,
    pub(crate) your_codes: &'static str,
    pub(crate) keep_codes: &'static str,
    pub(crate) codes_are_kept: &'static str,
    pub(crate) others_stay: &'static str,

    pub(crate) forgot_password: &'static str,
    pub(crate) no_account_yet: &'static str,
    pub(crate) sign_in_by_mail: &'static str,
    pub(crate) sign_in_by_password: &'static str,
    pub(crate) reset: &'static str,
    pub(crate) reset_lead: &'static str,
    pub(crate) account: &'static str,
    pub(crate) send_mail: &'static str,
    pub(crate) sign_up_lead: &'static str,
    pub(crate) email: &'static str,
    pub(crate) mail_sent: &'static str,
    pub(crate) mail_sent_detail: &'static str,
    pub(crate) bad_address: &'static str,
    pub(crate) choose_password: &'static str,
    pub(crate) choose_lead: &'static str,
    pub(crate) mail_code: &'static str,
    pub(crate) new_password: &'static str,
    pub(crate) set_password: &'static str,
    pub(crate) link_over: &'static str,
    pub(crate) password_is_set: &'static str,
    pub(crate) password_is_set_detail: &'static str,
    pub(crate) account_is_made: &'static str,
    pub(crate) account_is_made_detail: &'static str,
    pub(crate) confirm_address: &'static str,
    pub(crate) confirm_address_lead: &'static str,
    pub(crate) sign_in_for_address: &'static str,
    pub(crate) confirm: &'static str,
    pub(crate) address_is_confirmed: &'static str,
    pub(crate) address_is_confirmed_detail: &'static str,
    pub(crate) by_mail_lead: &'static str,
    pub(crate) wrong_mail_code: &'static str,
    pub(crate) change_password: &'static str,
    pub(crate) current_password: &'static str,
    pub(crate) change_address: &'static str,
    pub(crate) address_is_verified: &'static str,
    pub(crate) address_is_not_verified: &'static str,
    pub(crate) no_address: &'static str,
    pub(crate) password_overtaken: &'static str,
    pub(crate) password_control: &'static str,
    pub(crate) password_common: &'static str,
    pub(crate) password_breached: &'static str,
    pub(crate) password_repeats: &'static str,
    pub(crate) password_follows: &'static str,
    pub(crate) password_names: &'static str,
    pub(crate) password_too_long: &'static str,
    /// Around the least number of characters.
    pub(crate) password_too_short: (&'static str, &'static str),

    /// Around the name of the client.
    pub(crate) asks: (&'static str, &'static str),
    /// Around the user's name.
    pub(crate) signed_in_as: (&'static str, &'static str),
    pub(crate) it_will: &'static str,
    pub(crate) allow: &'static str,
    pub(crate) deny: &'static str,
    pub(crate) use_another_account: &'static str,
    pub(crate) scope_openid: &'static str,
    pub(crate) scope_profile: &'static str,
    pub(crate) scope_email: &'static str,
    pub(crate) scope_phone: &'static str,
    pub(crate) scope_address: &'static str,
    pub(crate) scope_roles: &'static str,
    pub(crate) scope_offline: &'static str,
    pub(crate) scope_other: &'static str,
    pub(crate) detail: &'static str,
    /// Around the origin that the answer goes to.
    pub(crate) answer_goes_to: (&'static str, &'static str),

    pub(crate) device: &'static str,
    pub(crate) device_lead: &'static str,
    pub(crate) device_warning: &'static str,
    /// Around the code that the device shows.
    pub(crate) device_shows: (&'static str, &'static str),
    pub(crate) device_unknown: &'static str,
    pub(crate) device_allowed: &'static str,
    pub(crate) device_denied: &'static str,
    pub(crate) device_done: &'static str,

    pub(crate) sign_out: &'static str,
    pub(crate) sign_out_question: &'static str,
    /// Around the name of the client.
    pub(crate) client_asks_sign_out: (&'static str, &'static str),
    pub(crate) stay: &'static str,
    pub(crate) signed_out: &'static str,
    pub(crate) signed_out_detail: &'static str,
    /// `{by}` of `{all}` nodes, `{ms}` milliseconds.
    /// `{by}` of `{n}` points after `{ms}` milliseconds.
    pub(crate) refused_by: Counted,
    /// `{until}`: a time.
    pub(crate) others_pending: &'static str,
    pub(crate) others_fenced: &'static str,
    /// After either of them.
    pub(crate) others_unchecked: &'static str,
    /// `{until}`: when verifiers that are not asked cease to go by what they knew.
    pub(crate) others_external: &'static str,
    pub(crate) sign_in_again: &'static str,

    pub(crate) your_account: &'static str,
    pub(crate) your_sessions: &'static str,
    pub(crate) this_browser: &'static str,
    pub(crate) last_used: &'static str,
    pub(crate) end_session: &'static str,
    pub(crate) your_applications: &'static str,
    pub(crate) agreed_on: &'static str,
    pub(crate) take_back: &'static str,
    pub(crate) held_by_applications: &'static str,
    pub(crate) held_since: &'static str,
    pub(crate) held_offline: &'static str,
    pub(crate) end_held: &'static str,
    pub(crate) sign_out_everywhere: &'static str,
    pub(crate) other_browsers: &'static str,
    pub(crate) end_others: &'static str,
    pub(crate) unknown_browser: &'static str,
    /// Between a browser and its system.
    pub(crate) on_system: &'static str,

    pub(crate) going_back: &'static str,
    pub(crate) go_on: &'static str,

    pub(crate) cannot_continue: &'static str,
    pub(crate) unknown_client: &'static str,
    pub(crate) client_not_taken: &'static str,
    pub(crate) client_away: &'static str,
    pub(crate) invalid_redirect: &'static str,
    pub(crate) malformed: &'static str,
    pub(crate) request_expired: &'static str,
    pub(crate) foreign_form: &'static str,
    pub(crate) no_window: &'static str,
    pub(crate) not_found: &'static str,
    pub(crate) too_many_requests: &'static str,
    pub(crate) away: &'static str,
    pub(crate) defect: &'static str,
    pub(crate) for_developers: &'static str,

    pub(crate) cookie_settings: &'static str,
    pub(crate) language: &'static str,
}

impl Messages {
    /// A browser, as people know it: `Firefox/Linux` is Firefox on Linux.
    pub(crate) fn browser(&self, named: &str) -> String {
        match named.split_once('/') {
            None | Some(("Other", _)) => self.unknown_browser.to_owned(),
            Some((family, "Other")) => family.to_owned(),
            Some((family, system)) => format!("{family}{}{system}", self.on_system),
        }
    }
}

impl Lang {
    /// All of them, in the order in which they are offered.
    pub(crate) const ALL: [Self; 2] = [Self::En, Self::Ja];

    /// Its tag (BCP 47).
    pub(crate) const fn tag(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Ja => "ja",
        }
    }

    /// Its own name for itself.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::En => "English",
            Self::Ja => "日本語",
        }
    }

    /// Its words.
    pub(crate) const fn messages(self) -> &'static Messages {
        match self {
            Self::En => &en::MESSAGES,
            Self::Ja => &ja::MESSAGES,
        }
    }

    /// The language of a tag, whatever its region.
    pub(crate) fn of_tag(tag: &str) -> Option<Self> {
        let primary = tag.split(['-', '_']).next().unwrap_or_default();
        Self::ALL.into_iter().find(|lang| lang.tag().eq_ignore_ascii_case(primary))
    }

    /// The first of these tags that is a language of ours.
    pub(crate) fn first_of<'t>(tags: impl IntoIterator<Item = &'t str>) -> Option<Self> {
        tags.into_iter().find_map(Self::of_tag)
    }

    /// The language that an `Accept-Language` header prefers (RFC 9110 §12.5.4).
    pub(crate) fn of_header(header: &str) -> Option<Self> {
        let mut ranges: Vec<(&str, u16)> = header
            .split(',')
            .take(32)
            .map(|range| {
                let (tag, q) = range.split_once(';').unwrap_or((range, ""));
                let weight = q.trim().strip_prefix("q=").map_or(Some(1000), thousandths);
                (tag.trim(), weight.unwrap_or(0))
            })
            .filter(|(_, weight)| *weight > 0)
            .collect();
        ranges.sort_by_key(|(_, weight)| std::cmp::Reverse(*weight));
        Self::first_of(ranges.into_iter().map(|(tag, _)| tag))
    }
}

/// A weight of at most three decimals, in thousandths.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let digits = decimals.len() <= 3 && decimals.bytes().all(|byte| byte.is_ascii_digit());
    let whole: u16 = whole.parse().ok().filter(|whole| *whole <= 1 && digits)?;
    let decimals: u16 = format!("{decimals:0<3}").parse().ok()?;
    Some((whole * 1000 + decimals).min(1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_weights_of_the_header() {
        for (header, lang) in [
            ("ja", Some(Lang::Ja)),
            ("JA-jp", Some(Lang::Ja)),
            ("en-US,en;q=0.9,ja;q=0.8", Some(Lang::En)),
            ("en;q=0.8, ja;q=0.9", Some(Lang::Ja)),
            ("fr, de;q=0.9, ja;q=0.1", Some(Lang::Ja)),
            ("en;q=0, ja;q=0.001", Some(Lang::Ja)),
            ("en;q=nonsense, ja;q=0.5", Some(Lang::Ja)),
            ("fr", None),
            ("", None),
            ("*", None),
            ("japanese", None),
        ] {
            assert_eq!(Lang::of_header(header), lang, "{header}");
        }
    }

    #[test]
    fn every_language_has_a_name_and_words_of_its_own() {
        assert_ne!(Lang::En.messages().sign_in, Lang::Ja.messages().sign_in);
        for lang in Lang::ALL {
            assert_eq!(Lang::of_tag(lang.tag()), Some(lang));
        }
    }
}
