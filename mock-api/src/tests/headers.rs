//! The clock that answers show, and the pages of single consents.

use chrono::{DateTime, TimeDelta, Utc};

use super::*;
use crate::{Endpoint, Fault, FaultRule, ServerDate};

fn date(answer: &Answer) -> Option<DateTime<Utc>> {
    let line = answer.head.lines().find_map(|line| line.strip_prefix("date: "))?;
    Some(DateTime::parse_from_rfc2822(line).unwrap().to_utc())
}

fn away(answer: &Answer) -> TimeDelta {
    #[expect(clippy::disallowed_methods, reason = "it is compared with the server's time")]
    let now = Utc::now();
    date(answer).unwrap() - now
}

fn about(seconds: i64, answer: &Answer) {
    assert!((away(answer) - TimeDelta::seconds(seconds)).abs() < TimeDelta::minutes(1), "{}", answer.head);
}

#[tokio::test]
async fn every_answer_tells_the_time_once_unless_told_otherwise() {
    let mock_api = with_people(MockSettings::default(), 3).await;
    let good = token(&mock_api).await;
    about(0, &page(&mock_api, &good, "").await);
    about(0, &post(&mock_api, "/oauth2/token", &form("mock~secret")).await);

    mock_api.configure(|settings| {
        settings.api_date = ServerDate::Cached(86_400);
        settings.token_date = ServerDate::Off(7_200);
    });
    let answer = page(&mock_api, &good, "").await;
    about(-86_400, &answer);
    assert!(answer.has("age: 86400"));
    assert_eq!(answer.head.matches("date: ").count(), 1);
    about(7_200, &post(&mock_api, "/oauth2/token", &form("mock~secret")).await);
    mock_api.play(FaultRule::on(Endpoint::List, Fault::CutBody { after: 9, reset: false }));
    about(-86_400, &page(&mock_api, &good, "").await);

    mock_api.configure(|settings| settings.api_date = ServerDate::Omitted);
    let answer = page(&mock_api, &good, "").await;
    assert_eq!((answer.status, date(&answer)), (200, None));
    assert_eq!(answer.json()["items"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn single_pages_answer_as_they_are_told() {
    let mock_api = with_people(MockSettings::default(), 3).await;
    let token = token(&mock_api).await;
    let ids = mock_api.people(|people| people.ids());
    let path = |id: &str| format!("/v1/marketing-consents/{id}");
    assert_eq!(get(&mock_api, &path(&ids[0]), &token).await.status, 200);
    for status in [404, 400, 410] {
        mock_api.configure(|settings| settings.gone_status = status);
        assert_eq!(get(&mock_api, &path("nobody"), &token).await.status, status);
    }
    mock_api.configure(|settings| {
        settings.page_status.insert(ids[1].clone(), 503);
        // Four requests were made.
        settings.failing_pages = Some((3, 500));
    });
    let mut statuses = Vec::new();
    for id in [&ids[0], &ids[0], &ids[1], &ids[1], &ids[2]] {
        statuses.push(get(&mock_api, &path(id), &token).await.status);
    }
    assert_eq!(statuses, [200, 500, 503, 503, 500]);
}
