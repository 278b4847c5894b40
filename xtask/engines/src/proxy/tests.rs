use super::*;
use crate::process::connect;

/// Says back what it is told, to everybody, until the test ends.
fn parrot() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || io::copy(&mut &stream, &mut &stream));
        }
    });
    port
}

fn say(stream: &mut TcpStream, word: &[u8; 4]) -> io::Result<[u8; 4]> {
    stream.write_all(word)?;
    hear(stream)
}

fn hear(stream: &mut TcpStream) -> io::Result<[u8; 4]> {
    let mut heard = [0; 4];
    stream.read_exact(&mut heard)?;
    Ok(heard)
}

/// Whether nothing comes, on a connection that is open.
fn is_silent(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let heard = hear(stream);
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    heard.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

#[test]
fn a_sound_way_carries_both_directions_until_one_is_closed() {
    let proxy = Proxy::before(parrot());
    let mut stream = connect(proxy.port()).unwrap();
    assert_eq!(&say(&mut stream, b"abcd").unwrap(), b"abcd");
    stream.write_all(b"last").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"last");
}

#[test]
fn who_is_refused_is_cut_off_and_can_come_again_afterwards() {
    let proxy = Proxy::before(parrot());
    let mut before = connect(proxy.port()).unwrap();
    say(&mut before, b"abcd").unwrap();
    proxy.set(Mode::Refuse);
    assert!(say(&mut before, b"abcd").is_err());
    assert!(connect(proxy.port()).and_then(|mut it| say(&mut it, b"abcd")).is_err());
    proxy.set(Mode::Sound);
    say(&mut connect(proxy.port()).unwrap(), b"abcd").unwrap();
}

#[test]
fn a_black_hole_is_silent_and_gives_back_what_it_was_given() {
    let proxy = Proxy::before(parrot());
    let mut before = connect(proxy.port()).unwrap();
    say(&mut before, b"abcd").unwrap();
    proxy.set(Mode::BlackHole);
    let mut during = connect(proxy.port()).unwrap();
    for stream in [&mut before, &mut during] {
        stream.write_all(b"held").unwrap();
        assert!(is_silent(stream));
    }
    proxy.set(Mode::Sound);
    for stream in [&mut before, &mut during] {
        assert_eq!(&hear(stream).unwrap(), b"held");
    }
}

#[test]
fn one_way_carries_requests_and_keeps_their_answers() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::before(listener.local_addr().unwrap().port());
    let mut client = connect(proxy.port()).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    proxy.set(Mode::OneWay(Direction::ToServer));
    client.write_all(b"done").unwrap();
    assert_eq!(&hear(&mut server).unwrap(), b"done");
    server.write_all(b"good").unwrap();
    assert!(is_silent(&mut client));
    proxy.set(Mode::OneWay(Direction::ToClient));
    assert_eq!(&hear(&mut client).unwrap(), b"good");
    client.write_all(b"more").unwrap();
    assert!(is_silent(&mut server));
}

#[test]
fn answers_are_lost_as_the_seed_says_and_what_was_asked_is_done() {
    let port = parrot();
    let losses = |seed| {
        let proxy = Proxy::before(port);
        proxy.set(Mode::LoseAnswers { one_in: 3, seed });
        let heard = |_| say(&mut connect(proxy.port()).unwrap(), b"abcd").is_ok();
        let heard: Vec<bool> = (0..30).map(heard).collect();
        let lost = u64::try_from(heard.iter().filter(|heard| !**heard).count()).unwrap();
        assert_eq!(lost, proxy.lost());
        heard
    };
    assert_eq!(losses(7), losses(7));
    assert_ne!(losses(7), losses(8));
    assert!(losses(7).contains(&true) && losses(7).contains(&false));
}

#[test]
fn a_delay_holds_each_piece() {
    let proxy = Proxy::before(parrot());
    proxy.set(Mode::Delay(Duration::from_millis(100)));
    let mut stream = connect(proxy.port()).unwrap();
    #[expect(clippy::disallowed_methods, reason = "how long it takes is what is tried")]
    let began = std::time::Instant::now();
    assert_eq!(&say(&mut stream, b"late").unwrap(), b"late");
    // On the way there, and on the way back.
    assert!(began.elapsed() >= Duration::from_millis(200));
}

#[test]
fn among_several_the_one_that_is_there_is_found() {
    let nobody = crate::process::free_port();
    let proxy = Proxy::among(&[nobody, parrot()]);
    for _ in 0..4 {
        say(&mut connect(proxy.port()).unwrap(), b"abcd").unwrap();
    }
    proxy.lead_to(&[nobody]);
    assert!(connect(proxy.port()).and_then(|mut it| say(&mut it, b"abcd")).is_err());
}
