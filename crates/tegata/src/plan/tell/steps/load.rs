//! How often everything happens, and how many tokens are alive.

use super::{Step, number, rate, step, values};
use crate::plan::Plan;

pub(super) fn steps(plan: &Plan) -> Vec<Step> {
    let (load, rates, alive) = (&plan.asked.load, &plan.rates, &plan.alive);
    vec![
        step(
            "sign_ins",
            ["sign-ins", "サインイン"],
            [
                "{0} users × {1} a day ÷ 86,400 s = {2}; × {3} in the busiest hour = {4}",
                "{0} 人 × 1 日 {1} 回 ÷ 86,400 秒 = {2}、ピーク時はその {3} 倍で {4}",
            ],
            values![
                load.users,
                number(load.sign_ins),
                rate(rates.sign_ins.average),
                number(load.peak),
                rate(rates.sign_ins.peak)
            ],
        ),
        step(
            "tokens",
            ["access tokens", "アクセストークン"],
            [
                "one lives {0} s and is kept fresh for {1} s after a sign-in: {2} for each sign-in, \
                 {3}; {4} in the busiest hour",
                "有効期間 {0} 秒、サインイン後 {1} 秒間は更新され続ける：サインイン 1 回につき {2} 個、\
                 {3}、ピーク時 {4}",
            ],
            values![
                number(load.access.as_secs_f64()),
                number(load.active.as_secs_f64()),
                number(rates.tokens_of_sign_in),
                rate(rates.tokens.average),
                rate(rates.tokens.peak)
            ],
        ),
        step(
            "refreshes",
            ["refreshes", "更新"],
            [
                "all of these tokens but the first of each sign-in: {0}; {1} in the busiest hour",
                "サインインごとの最初の 1 個を除くすべて：{0}、ピーク時 {1}",
            ],
            values![rate(rates.refreshes.average), rate(rates.refreshes.peak)],
        ),
        step(
            "checks",
            ["checks", "検査"],
            [
                "{0} users × {1} calls a day ÷ 86,400 s = {2}; × {3} = {4}; each call is checked",
                "{0} 人 × 1 日 {1} 回の呼び出し ÷ 86,400 秒 = {2}、× {3} = {4}。呼び出しは毎回検査される",
            ],
            values![
                load.users,
                number(load.requests),
                rate(rates.checks.average),
                number(load.peak),
                rate(rates.checks.peak)
            ],
        ),
        step(
            "revoked",
            ["tokens taken back", "トークンの失効"],
            [
                "{0} % of access tokens, one by one: {1}; {2} in the busiest hour",
                "アクセストークンの {0} % を個別に失効：{1}、ピーク時 {2}",
            ],
            values![load.revoked, rate(rates.revoked.average), rate(rates.revoked.peak)],
        ),
        step(
            "sign_outs",
            ["sign-outs", "サインアウト"],
            [
                "{0} % of sign-ins end by signing out: {1}; {2} in the busiest hour",
                "サインインの {0} % がサインアウトで終わる：{1}、ピーク時 {2}",
            ],
            values![load.sign_outs, rate(rates.sign_outs.average), rate(rates.sign_outs.peak)],
        ),
        step(
            "access_alive",
            ["access tokens alive", "有効なアクセストークン"],
            ["{0} in the busiest hour × {1} s = {2}", "ピーク時 {0} × {1} 秒 = {2}"],
            values![
                rate(rates.tokens.peak),
                number(load.access.as_secs_f64()),
                number(alive.access)
            ],
        ),
        step(
            "refresh_alive",
            ["refresh tokens alive", "有効なリフレッシュトークン"],
            [
                "one for each sign-in, which can be used for {0} s: {1} × {0} s = {2}; nothing is kept \
                 in memory for them",
                "サインインごとに 1 個、{0} 秒間使える：{1} × {0} 秒 = {2}。メモリーは使わない",
            ],
            values![
                number(alive.refresh_secs),
                rate(rates.sign_ins.average),
                number(alive.refresh)
            ],
        ),
    ]
}
