//! The door against strangers, leftovers and other files in its place.

use super::*;
use std::os::unix::net::UnixListener as BlockingListener;

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn folder_and_socket_are_private_and_the_file_goes_with_the_door() {
    let state = tempfile::tempdir().unwrap();
    let folder = state.path().join("agent");
    std::fs::create_dir(&folder).unwrap();
    std::fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
    let door = Door::open(&folder, "x.sock").await.unwrap();
    assert_eq!(mode(&folder), 0o700);
    assert_eq!(mode(&folder.join("x.sock")), 0o600);
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1, "no draft stays");
    drop(door);
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
}

#[tokio::test]
async fn a_peer_of_another_user_is_refused_at_both_ends() {
    let state = tempfile::tempdir().unwrap();
    let own = own_user().unwrap();
    let stranger = own + 1;
    let path = state.path().join("x.sock");
    let mut door = Door::open(state.path(), "x.sock").await.unwrap();

    let refused = knock_as(&path, stranger).await.unwrap_err();
    assert!(
        matches!(refused, DoorError::WrongUser { peer, own: us } if peer == own && us == stranger)
    );
    door.accept().await.unwrap();

    door.own = stranger;
    let knocking = knock_as(&path, own).await.unwrap();
    let refused = door.accept().await.unwrap_err();
    assert!(matches!(refused, DoorError::WrongUser { peer, .. } if peer == own));
    drop(knocking);

    door.own = own;
    let _inside = knock(&path).await.unwrap();
    door.accept().await.unwrap();
}

#[tokio::test]
async fn a_socket_that_nobody_listens_at_is_replaced() {
    let state = tempfile::tempdir().unwrap();
    let path = state.path().join("x.sock");
    drop(BlockingListener::bind(&path).unwrap());
    assert!(path.exists(), "a dead process leaves its socket file");
    assert!(matches!(knock(&path).await, Err(DoorError::Absent(_))));
    let door = Door::open(state.path(), "x.sock").await.unwrap();
    let _inside = knock(&path).await.unwrap();
    door.accept().await.unwrap();
}

#[tokio::test]
async fn a_socket_that_somebody_listens_at_is_left_alone() {
    let state = tempfile::tempdir().unwrap();
    let first = Door::open(state.path(), "x.sock").await.unwrap();
    let second = Door::open(state.path(), "x.sock").await;
    assert!(matches!(second, Err(DoorError::InUse(_))));
    // The second one's knock came first.
    first.accept().await.unwrap();
    let _inside = knock(&state.path().join("x.sock")).await.unwrap();
    first.accept().await.unwrap();
}

#[tokio::test]
async fn a_closing_door_leaves_its_successors_socket() {
    let state = tempfile::tempdir().unwrap();
    let path = state.path().join("x.sock");
    let first = Door::open(state.path(), "x.sock").await.unwrap();
    std::fs::remove_file(&path).unwrap();
    let second = Door::open(state.path(), "x.sock").await.unwrap();
    drop(first);
    let _inside = knock(&path).await.unwrap();
    second.accept().await.unwrap();
}

#[tokio::test]
async fn another_file_in_the_sockets_place_is_not_removed() {
    let state = tempfile::tempdir().unwrap();
    let path = state.path().join("x.sock");
    std::fs::write(&path, "notes").unwrap();
    assert!(matches!(Door::open(state.path(), "x.sock").await, Err(DoorError::NotASocket(_))));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "notes");
}

#[tokio::test]
async fn a_link_in_the_folders_place_is_refused() {
    let state = tempfile::tempdir().unwrap();
    let elsewhere = state.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    let folder = state.path().join("agent");
    std::os::unix::fs::symlink(&elsewhere, &folder).unwrap();
    assert!(matches!(Door::open(&folder, "x.sock").await, Err(DoorError::ForeignFolder(_))));
}

#[tokio::test]
async fn a_folder_deeper_than_an_address_holds_still_has_a_door() {
    let state = tempfile::tempdir().unwrap();
    let folder = state.path().join("x".repeat(MAX_SOCKET_PATH)).join("agent");
    let path = folder.join("x.sock");
    assert!(matches!(knock(&path).await, Err(DoorError::Absent(_))));
    let opened = Door::open(&folder, "x.sock").await;
    if !cfg!(target_os = "linux") {
        let refused = opened.unwrap_err();
        assert!(matches!(refused, DoorError::PathTooLong(_)));
        assert_eq!(ErrorBody::from(refused).code, "CONFIG_INVALID");
        return;
    }
    let door = opened.unwrap();
    let (inside, outside) = tokio::join!(door.accept(), knock(&path));
    inside.unwrap();
    outside.unwrap();
    assert!(matches!(Door::open(&folder, "x.sock").await, Err(DoorError::InUse(_))));
    drop(door);
    assert!(!path.exists(), "the door was taken away");
}

#[tokio::test]
async fn a_name_longer_than_an_address_is_told() {
    let state = tempfile::tempdir().unwrap();
    let refused = Door::open(state.path(), &"x".repeat(MAX_SOCKET_PATH)).await.unwrap_err();
    assert!(matches!(refused, DoorError::PathTooLong(_)));
    assert_eq!(ErrorBody::from(refused).code, "CONFIG_INVALID");
}
